/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pages.c - selectors -> page
 */
#include "devices/generic/pages.h"

#include <errno.h>
#include <string.h>

typedef struct {
  guint64 selectors[VD_SELECTORS_MAX];
  GByteArray *bytes;
} Page;

struct VdPages {
  const VdField *selectors[VD_SELECTORS_MAX];
  guint n_selectors;
  const VdField *size; /* NULL: none */
  const VdField *room; /* NULL: there is no window */
  GPtrArray *pages;    /* Page */
};

static void
page_free (gpointer data)
{
  Page *page = data;

  g_byte_array_unref (page->bytes);
  g_free (page);
}

void
vd_pages_free (VdPages *pages)
{
  if (pages == NULL)
    return;
  g_ptr_array_unref (pages->pages);
  g_free (pages);
}

guint
vd_pages_count (const VdPages *pages)
{
  return pages->pages->len;
}

/* Gives @field its part in the window. */
static gboolean
take_field (VdPages *pages, const VdField *field, GError **error)
{
  const VdField **place = NULL;

  switch (field->role) {
  case VD_FIELD_PLAIN: return TRUE;
  case VD_FIELD_SIZE: place = &pages->size; break;
  case VD_FIELD_PAGE: place = &pages->room; break;
  case VD_FIELD_SELECT:
    if (pages->n_selectors == VD_SELECTORS_MAX)
      return vd_refuse (error, "field '%s': at most %u fields select",
                        field->name, VD_SELECTORS_MAX);
    place = &pages->selectors[pages->n_selectors++];
    break;
  }
  if (*place != NULL)
    return vd_refuse (error, "fields '%s' and '%s': one window is enough",
                      (*place)->name, field->name);
  *place = field;
  return TRUE;
}

VdPages *
vd_pages_new (const VdLayout *layout, GError **error)
{
  g_autoptr (VdPages) pages = g_new0 (VdPages, 1);

  pages->pages = g_ptr_array_new_with_free_func (page_free);
  for (guint i = 0; i < layout->fields->len; i++)
    if (!take_field (pages, g_ptr_array_index (layout->fields, i), error))
      return NULL;
  if ((pages->room == NULL) != (pages->n_selectors == 0) ||
      (pages->room == NULL && pages->size != NULL)) {
    vd_refuse (error, "a window needs a field that selects and one that is the "
                      "page");
    return NULL;
  }
  return g_steal_pointer (&pages);
}

/* Reads "17.1". */
static gboolean
parse_selectors (const VdPages *pages, const char *text, guint64 *ret,
                 GError **error)
{
  const char *at = text;

  for (guint i = 0;; i++) {
    char *end;

    if (i == pages->n_selectors)
      return vd_refuse (error, "%u fields select a page", pages->n_selectors);
    errno = 0;
    ret[i] = g_ascii_strtoull (at, &end, 0);
    if (!g_ascii_isdigit (*at) || errno != 0 || (*end != '.' && *end != '\0'))
      return vd_refuse (error, "a page's key is page.N or page.N.M");
    if (*end == '\0')
      return TRUE;
    at = end + 1;
  }
}

static const Page *
find_page (const VdPages *pages, const guint64 *selectors)
{
  for (guint i = 0; i < pages->pages->len; i++) {
    const Page *page = g_ptr_array_index (pages->pages, i);

    if (memcmp (page->selectors, selectors, sizeof page->selectors) == 0)
      return page;
  }
  return NULL;
}

/* Appends one "TYPE VALUE". */
static gboolean
parse_part (const char *text, GByteArray *to, GError **error)
{
  gsize len = strcspn (text, " \t");
  g_autofree char *word = g_strndup (text, len);
  const char *value = text + len + strspn (text + len, " \t");
  VdValueForm form;

  if (!vd_value_parse_form (word, &form, error))
    return FALSE;
  /* A list of numbers needs no brackets here: the page ends where it ends. */
  if (vd_value_is_number (form.type) && word[len - 1] != ']')
    form.count = 0;
  return vd_value_parse (form, value, to, error);
}

/* The longest page that fits the window and that its size field can tell. */
static guint64
room_of (const VdPages *pages)
{
  guint64 room = pages->room->len;

  if (pages->size == NULL || pages->size->len == sizeof (guint64))
    return room;
  return MIN (room, (1ull << 8 * pages->size->len) - 1);
}

static gboolean
parse_page (const VdPages *pages, const char *text, GByteArray *to,
            GError **error)
{
  while (text != NULL) {
    g_autofree char *part = vd_layout_next (&text);

    if (*part == '\0')
      continue;
    if (!parse_part (part, to, error))
      return FALSE;
    if (to->len > room_of (pages))
      return vd_refuse (error, "the page has more than %u bytes",
                        (guint) room_of (pages));
  }
  return TRUE;
}

gboolean
vd_pages_add (VdPages *pages, const char *selectors, const char *text,
              GError **error)
{
  guint64 values[VD_SELECTORS_MAX] = { 0 };
  g_autoptr (GByteArray) bytes = g_byte_array_new ();
  Page *page;

  if (pages->room == NULL)
    return vd_refuse (error, "no field of the key config selects a page");
  if (!parse_selectors (pages, selectors, values, error))
    return FALSE;
  if (find_page (pages, values) != NULL)
    return vd_refuse (error, "this page was given before");
  if (!parse_page (pages, text, bytes, error))
    return FALSE;
  page = g_new0 (Page, 1);
  memcpy (page->selectors, values, sizeof values);
  page->bytes = g_steal_pointer (&bytes);
  g_ptr_array_add (pages->pages, page);
  return TRUE;
}

gboolean
vd_pages_is_selector (const VdPages *pages, guint offset, guint len)
{
  for (guint i = 0; i < pages->n_selectors; i++) {
    const VdField *field = pages->selectors[i];

    if (offset < field->offset + field->len && field->offset < offset + len)
      return TRUE;
  }
  return FALSE;
}

gboolean
vd_pages_fill (const VdPages *pages, VdConfig *config)
{
  guint64 values[VD_SELECTORS_MAX] = { 0 };
  guint8 size[sizeof (guint64)];
  g_autofree guint8 *room = NULL;
  gboolean changed;
  const Page *page;

  if (pages->room == NULL)
    return FALSE;
  for (guint i = 0; i < pages->n_selectors; i++)
    values[i] =
        vd_value_get_number (pages->selectors[i]->form.type,
                             config->bytes + pages->selectors[i]->offset);
  page = find_page (pages, values);
  room = g_malloc0 (pages->room->len);
  if (page != NULL && page->bytes->len > 0)
    memcpy (room, page->bytes->data, page->bytes->len);
  changed = vd_config_set (config, pages->room->offset, room, pages->room->len);
  if (pages->size == NULL)
    return changed;
  vd_value_put_number (pages->size->form.type,
                       page != NULL ? page->bytes->len : 0, size);
  changed |=
      vd_config_set (config, pages->size->offset, size, pages->size->len);
  return changed;
}

void
vd_pages_reset (const VdPages *pages, VdConfig *config)
{
  const guint8 zero[sizeof (guint64)] = { 0 };

  for (guint i = 0; i < pages->n_selectors; i++)
    vd_config_set (config, pages->selectors[i]->offset, zero,
                   pages->selectors[i]->len);
  vd_pages_fill (pages, config);
}
