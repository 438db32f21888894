/* SPDX-License-Identifier: BSD-3-Clause
 *
 * layout.c - the field list of the key "config"
 */
#include "devices/generic/layout.h"

#include <string.h>

#include "devices/options.h"

#define SPACES " \t"

static void
field_free (gpointer data)
{
  VdField *field = data;

  g_free (field->name);
  g_free (field);
}

void
vd_layout_free (VdLayout *layout)
{
  if (layout == NULL)
    return;
  g_ptr_array_unref (layout->fields);
  g_byte_array_unref (layout->bytes);
  g_free (layout);
}

/* Returns: (transfer full): the word at *@text, which moves behind it and the
 * spaces that follow; NULL at the end. */
static char *
next_word (const char **text)
{
  const char *start = *text + strspn (*text, SPACES);
  gsize len = strcspn (start, SPACES);

  *text = start + len + strspn (start + len, SPACES);
  return len > 0 ? g_strndup (start, len) : NULL;
}

static gboolean
is_name (const char *name)
{
  gsize good = strspn (name, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "_.-");

  return name[good] == '\0' && good <= 64 && !g_ascii_isdigit (name[0]);
}

static const VdField *
find_field (const VdLayout *layout, const char *name)
{
  for (guint i = 0; i < layout->fields->len; i++) {
    const VdField *field = g_ptr_array_index (layout->fields, i);

    if (strcmp (field->name, name) == 0)
      return field;
  }
  return NULL;
}

static gboolean
parse_access (VdField *field, const char *word, GError **error)
{
  static const char *const words[] = {
    [VD_CONFIG_RO] = "ro", [VD_CONFIG_RW] = "rw", [VD_CONFIG_W1C] = "w1c"
  };

  for (guint i = 0; i < G_N_ELEMENTS (words); i++)
    if (strcmp (word, words[i]) == 0) {
      field->access = (VdConfigAccess) i;
      return TRUE;
    }
  return vd_refuse (error, "'%s' is not an access (ro, rw or w1c)", word);
}

/* Whether @text is a role, which no value of the field's type is. */
static gboolean
parse_role (VdField *field, const char *text)
{
  gboolean is_number =
      vd_value_is_number (field->form.type) && field->form.count == 1;
  gboolean is_room =
      field->form.type == VD_VALUE_U8 || field->form.type == VD_VALUE_BYTES;

  if (is_number && strcmp (text, "select") == 0)
    field->role = VD_FIELD_SELECT;
  else if (is_number && strcmp (text, "size") == 0)
    field->role = VD_FIELD_SIZE;
  else if (is_room && field->form.count > 0 && strcmp (text, "page") == 0)
    field->role = VD_FIELD_PAGE;
  return field->role != VD_FIELD_PLAIN;
}

/* Appends the value to the bytes. */
static gboolean
parse_value (VdLayout *layout, VdField *field, const char *text, GError **error)
{
  gboolean is_role = parse_role (field, text);

  if (field->role == VD_FIELD_SELECT && field->access != VD_CONFIG_RW)
    return vd_refuse (error, "a select field is rw");
  field->has_value = !is_role && *text != '\0';
  if (!vd_value_parse (field->form, is_role ? NULL : text, layout->bytes,
                       error))
    return FALSE;
  if (layout->bytes->len > VD_CONFIG_MAX)
    return vd_refuse (error, "config space has at most %u bytes",
                      VD_CONFIG_MAX);
  field->len = layout->bytes->len - field->offset;
  if (field->len == 0)
    return vd_refuse (error, "without a value the type needs a length, as in "
                             "bytes[8]");
  return TRUE;
}

/* @text: what follows the name */
static gboolean
parse_rest (VdLayout *layout, VdField *field, const char *text, GError **error)
{
  g_autofree char *type = next_word (&text);
  g_autofree char *access = next_word (&text);

  if (type == NULL)
    return vd_refuse (error, "the type is missing");
  if (!vd_value_parse_form (type, &field->form, error) ||
      (access != NULL && !parse_access (field, access, error)))
    return FALSE;
  return parse_value (layout, field, text, error);
}

/* @text: one field, without spaces at both ends */
static gboolean
parse_field (VdLayout *layout, const char *text, GError **error)
{
  g_autofree char *name = next_word (&text);
  VdField *field;

  if (!is_name (name))
    return vd_refuse (error,
                      "'%s' is not a field's name (letters, digits, '_', '-', "
                      "'.'; no digit first)",
                      name);
  if (strcmp (name, VD_FIELD_PADDING) != 0 && find_field (layout, name) != NULL)
    return vd_refuse (error, "field '%s' is there twice", name);
  field = g_new0 (VdField, 1);
  field->name = g_steal_pointer (&name);
  field->offset = layout->bytes->len;
  g_ptr_array_add (layout->fields, field);
  if (parse_rest (layout, field, text, error))
    return TRUE;
  g_prefix_error (error, "field '%s': ", field->name);
  return FALSE;
}

char *
vd_layout_next (const char **text)
{
  g_autoptr (GString) part = g_string_new (NULL);
  const char *at = *text;

  for (; *at != '\0'; at++) {
    if (at[0] == ';' && at[1] != ';')
      break;
    g_string_append_c (part, *at);
    at += at[0] == ';';
  }
  *text = *at == ';' ? at + 1 : NULL;
  return g_strdup (g_strstrip (part->str));
}

VdLayout *
vd_layout_parse (const char *text, GError **error)
{
  g_autoptr (VdLayout) layout = g_new0 (VdLayout, 1);

  layout->fields = g_ptr_array_new_with_free_func (field_free);
  layout->bytes = g_byte_array_new ();
  while (text != NULL) {
    g_autofree char *field = vd_layout_next (&text);

    /* A semicolon may also end the list. */
    if (*field != '\0' && !parse_field (layout, field, error))
      return NULL;
  }
  return g_steal_pointer (&layout);
}

/* Makes config space at least @len bytes long. */
static void
extend (VdLayout *layout, guint len)
{
  guint old = layout->bytes->len;

  if (old >= len)
    return;
  g_byte_array_set_size (layout->bytes, len);
  memset (layout->bytes->data + old, 0, len - old);
}

/* Returns: bytes from the start that belong to fields. */
static guint
fields_len (const VdLayout *layout)
{
  const VdField *last;

  if (layout->fields->len == 0)
    return 0;
  last = g_ptr_array_index (layout->fields, layout->fields->len - 1);
  return last->offset + last->len;
}

void
vd_layout_set_base (VdLayout *layout, const guint8 *base, guint len)
{
  guint end = fields_len (layout);

  extend (layout, len);
  for (guint i = 0; i < layout->fields->len; i++) {
    const VdField *field = g_ptr_array_index (layout->fields, i);

    if (!field->has_value && field->role == VD_FIELD_PLAIN &&
        field->offset < len)
      memcpy (layout->bytes->data + field->offset, base + field->offset,
              MIN (field->len, len - field->offset));
  }
  if (end < len)
    memcpy (layout->bytes->data + end, base + end, len - end);
}

gboolean
vd_layout_set_len (VdLayout *layout, guint len, GError **error)
{
  if (layout->bytes->len > len)
    return vd_refuse (error, "the config space needs %u bytes",
                      layout->bytes->len);
  extend (layout, len);
  return TRUE;
}

void
vd_layout_apply (const VdLayout *layout, VdConfig *config)
{
  vd_config_set (config, 0, layout->bytes->data, layout->bytes->len);
  for (guint i = 0; i < layout->fields->len; i++) {
    const VdField *field = g_ptr_array_index (layout->fields, i);

    vd_config_set_access (config, field->offset, field->len, field->access);
  }
}

static gboolean
is_same_field (const VdField *a, const VdField *b)
{
  return strcmp (a->name, b->name) == 0 && a->form.type == b->form.type &&
         a->len == b->len && a->access == b->access && a->role == b->role;
}

gboolean
vd_layout_check_same (const VdLayout *layout, const VdLayout *next,
                      GError **error)
{
  if (layout->fields->len != next->fields->len)
    return vd_refuse (error, "a running driver keeps its %u fields",
                      layout->fields->len);
  for (guint i = 0; i < layout->fields->len; i++) {
    const VdField *old = g_ptr_array_index (layout->fields, i);

    if (!is_same_field (old, g_ptr_array_index (next->fields, i)))
      return vd_refuse (error,
                        "field '%s': a running driver keeps the names, types, "
                        "order and access of its fields",
                        old->name);
  }
  if (layout->bytes->len != next->bytes->len)
    return vd_refuse (error,
                      "a running driver keeps its %u bytes of config space",
                      layout->bytes->len);
  return TRUE;
}

/* Hands a span on if its configured bytes differ. */
static gboolean
update_span (const VdLayout *layout, const VdLayout *next, VdConfig *config,
             guint offset, guint len)
{
  const guint8 *from = next->bytes->data + offset;

  return memcmp (layout->bytes->data + offset, from, len) != 0 &&
         vd_config_set (config, offset, from, len);
}

gboolean
vd_layout_update (VdLayout *layout, const VdLayout *next, VdConfig *config)
{
  gboolean changed = FALSE;

  for (guint i = 0; i < layout->fields->len; i++) {
    const VdField *field = g_ptr_array_index (layout->fields, i);

    if (field->role == VD_FIELD_PLAIN)
      changed |= update_span (layout, next, config, field->offset, field->len);
  }
  for (guint i = fields_len (layout); i < layout->bytes->len; i++)
    changed |= update_span (layout, next, config, i, 1);
  if (layout->bytes->len > 0)
    memcpy (layout->bytes->data, next->bytes->data, layout->bytes->len);
  return changed;
}
