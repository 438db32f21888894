/* SPDX-License-Identifier: BSD-3-Clause */
#include "devices/generic/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/generic/value.h"
#include "devices/key-value.h"
#include "vring/fd.h"

/* What front-ends map. */
#define PAGE G_GUINT64_CONSTANT (4096)

typedef enum { HIDDEN, ASKED, SHOWN, REFUSED } State;

static const char *const states[] = { "hidden", "asked", "shown", "refused" };

/* A region's file. */
typedef struct {
  char *path; /* NULL: none */
  gboolean writable;
  int fd;
  dev_t dev;
  ino_t ino;
  guint64 len; /* bytes shown: whole pages */
  State state;
} Item;

struct VdShmFiles {
  guint64 sizes[VD_SHM_REGIONS];
  Item items[VD_SHM_REGIONS];
  guint n_regions;
};

/* What vd_options_foreach() carries along. */
typedef struct {
  VdShmFiles *files;
  const VdOptions *options;
} Parser;

void
vd_shm_files_free (VdShmFiles *files)
{
  for (guint i = 0; files != NULL && i < VD_SHM_REGIONS; i++) {
    vd_clear_fd (&files->items[i].fd);
    g_free (files->items[i].path);
  }
  g_free (files);
}

static gboolean
parse_id (const char *text, guint *ret, GError **error)
{
  char *end;
  guint64 id = g_ascii_strtoull (text, &end, 10);

  if (!g_ascii_isdigit (*text) || *end != '\0' || id >= VD_SHM_REGIONS)
    return vd_refuse (error, "the key is shmem.N, N from 0 to %d",
                      VD_SHM_REGIONS - 1);
  *ret = (guint) id;
  return TRUE;
}

static gboolean
parse_size (const char *text, guint64 *ret, GError **error)
{
  const VdKey key = { .type = VD_KEY_SIZE, .min = PAGE, .max = 1ull << 50 };
  VdKeyValue value;

  if (!vd_key_parse (&key, text, &value) || value.number % PAGE != 0)
    return vd_refuse (error, "%s is not a size in whole pages of 4096 bytes",
                      text);
  *ret = value.number;
  return TRUE;
}

/* Reads "SIZE", "SIZE ro PATH" or "SIZE rw PATH". */
static gboolean
parse_key (Parser *parser, const char *suffix, const char *value,
           GError **error)
{
  g_auto (GStrv) words = g_strsplit (value, " ", 3);
  guint n = g_strv_length (words), id = 0;
  Item *item;

  if (!parse_id (suffix, &id, error))
    return FALSE;
  item = &parser->files->items[id];
  if (parser->files->sizes[id] != 0)
    return vd_refuse (error, "another key is for region %u too", id);
  if ((n != 1 && n != 3) ||
      (n == 3 && strcmp (words[1], "ro") != 0 && strcmp (words[1], "rw") != 0))
    return vd_refuse (error, "not SIZE, SIZE ro PATH or SIZE rw PATH");
  if (!parse_size (words[0], &parser->files->sizes[id], error))
    return FALSE;
  parser->files->n_regions++;
  if (n == 3) {
    item->writable = strcmp (words[1], "rw") == 0;
    item->path = vd_options_resolve (parser->options, words[2]);
  }
  return TRUE;
}

/* Says which key it was. */
static gboolean
refuse_key (const VdOptions *options, const char *suffix, const GError *why,
            GError **error)
{
  g_autofree char *key = g_strconcat ("shmem.", suffix, NULL);

  vd_options_set_error (options, key, error, "%s", why->message);
  return FALSE;
}

static gboolean
add_key (const char *suffix, const char *value, gpointer user_data,
         GError **error)
{
  Parser *parser = user_data;
  g_autoptr (GError) why = NULL;

  return parse_key (parser, suffix, value, &why) ||
         refuse_key (parser->options, suffix, why, error);
}

VdShmFiles *
vd_shm_files_new (const VdOptions *options, GError **error)
{
  g_autoptr (VdShmFiles) files = g_new0 (VdShmFiles, 1);
  Parser parser = { .files = files, .options = options };

  for (guint i = 0; i < VD_SHM_REGIONS; i++)
    files->items[i].fd = -1;
  if (!vd_options_foreach (options, "shmem.", add_key, &parser, error))
    return NULL;
  return g_steal_pointer (&files);
}

/* Bytes behind the end of the file could be mapped, but not touched. */
static gboolean
open_item (Item *item, guint64 size, GError **error)
{
  int flags = item->writable ? O_RDWR : O_RDONLY;
  struct stat st;

  item->fd = open (item->path, flags | O_CLOEXEC | O_NONBLOCK);
  if (item->fd < 0 || fstat (item->fd, &st) < 0)
    return vd_refuse (error, "%s: %s", item->path, g_strerror (errno));
  if (!S_ISREG (st.st_mode) || st.st_size == 0)
    return vd_refuse (error, "%s: not a regular file with something in it",
                      item->path);
  item->dev = st.st_dev;
  item->ino = st.st_ino;
  item->len = MIN (((guint64) st.st_size + PAGE - 1) / PAGE * PAGE, size);
  return TRUE;
}

gboolean
vd_shm_files_open (VdShmFiles *files, const VdOptions *options, GError **error)
{
  for (guint i = 0; i < VD_SHM_REGIONS; i++) {
    Item *item = &files->items[i];
    g_autofree char *suffix = g_strdup_printf ("%u", i);
    g_autoptr (GError) why = NULL;

    if (item->path != NULL && !open_item (item, files->sizes[i], &why))
      return refuse_key (options, suffix, why, error);
  }
  return TRUE;
}

const guint64 *
vd_shm_files_sizes (const VdShmFiles *files)
{
  return files->n_regions > 0 ? files->sizes : NULL;
}

static void
on_done (VdDevice *dev, gpointer data, int result)
{
  Item *item = data;

  item->state = result == 0 ? SHOWN : result == -ECANCELED ? HIDDEN : REFUSED;
}

static VdShmMapping
mapping_of (const VdShmFiles *files, const Item *item)
{
  return (VdShmMapping){
    .id = (guint8) (item - files->items),
    .writable = item->writable,
    .fd = item->fd,
    .len = item->len,
  };
}

void
vd_shm_files_show (VdShmFiles *files, VdDevice *dev)
{
  for (guint i = 0; i < VD_SHM_REGIONS; i++) {
    Item *item = &files->items[i];
    const VdShmMapping mapping = mapping_of (files, item);

    /* A front-end keeps what it shows, and may hang up if asked twice. */
    if (item->path == NULL || item->state != HIDDEN)
      continue;
    item->state = ASKED;
    if (dev->services->shm_map (dev, &mapping, on_done, item) < 0)
      item->state = HIDDEN;
  }
}

gboolean
vd_shm_files_check_same (const VdShmFiles *files, const VdShmFiles *next,
                         const VdOptions *options, GError **error)
{
  for (guint i = 0; i < VD_SHM_REGIONS; i++)
    if (files->sizes[i] != next->sizes[i]) {
      g_set_error (error, VD_OPTIONS_ERROR, VD_OPTIONS_ERROR_BAD_VALUE,
                   "%s: shmem.%u: a region cannot come, go or change its size "
                   "while the device is served",
                   vd_options_origin (options), i);
      return FALSE;
    }
  return TRUE;
}

static gboolean
same_file (const Item *a, const Item *b)
{
  return (a->path != NULL) == (b->path != NULL) && a->dev == b->dev &&
         a->ino == b->ino && a->len == b->len && a->writable == b->writable;
}

void
vd_shm_files_take (VdShmFiles *files, VdShmFiles *next, VdDevice *dev)
{
  for (guint i = 0; i < VD_SHM_REGIONS; i++) {
    Item *item = &files->items[i];
    const VdShmMapping mapping = mapping_of (files, item);
    const Item old = *item;

    if (same_file (item, &next->items[i]))
      continue;
    if (item->state == ASKED || item->state == SHOWN)
      dev->services->shm_unmap (dev, &mapping, NULL, NULL);
    *item = next->items[i];
    next->items[i] = old; /* and is freed with it */
  }
  if (dev->services != NULL)
    vd_shm_files_show (files, dev);
}

void
vd_shm_files_hide (VdShmFiles *files)
{
  for (guint i = 0; i < VD_SHM_REGIONS; i++)
    if (files->items[i].state != ASKED) /* the answer will tell */
      files->items[i].state = HIDDEN;
}

void
vd_shm_files_dump (const VdShmFiles *files, GString *text)
{
  for (guint i = 0; i < VD_SHM_REGIONS; i++) {
    const Item *item = &files->items[i];

    if (files->sizes[i] == 0)
      continue;
    g_string_append_printf (text, "shmem %u: %" G_GUINT64_FORMAT " bytes", i,
                            files->sizes[i]);
    if (item->path != NULL)
      g_string_append_printf (text, ", %s, %s", item->path,
                              states[item->state]);
    g_string_append_c (text, '\n');
  }
}
