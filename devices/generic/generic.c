/* SPDX-License-Identifier: BSD-3-Clause
 *
 * generic.c - config space as data, queues from a menu
 *
 * For devices that no VMM knows yet, for tests of drivers with odd sizes and
 * values, and for small real devices.  The parts: layout.h turns text into
 * fields and bytes, pages.h is the select window, queues.h the menu, write-log.h
 * tells what the driver wrote.  All but the queues' items belongs to CONTROL.
 */
#define G_LOG_DOMAIN "virtiod-generic"

#include "devices/generic/generic.h"

#include <assert.h>
#include <gio/gio.h>
#include <stddef.h>
#include <string.h>

#include "devices/generic/features.h"
#include "devices/generic/layout.h"
#include "devices/generic/pages.h"
#include "devices/generic/queues.h"
#include "devices/generic/shm.h"
#include "devices/generic/write-log.h"

/* What QEMU's front-ends ask for at most. */
#define CONFIG_LEN_COMMON 256

typedef struct {
  VdDevice parent;
  VdLayout *layout;
  VdPages *pages;
  VdQueueMenu *menu;
  VdShmFiles *shm;
  VdWriteLog *writes;
} VdGeneric;
static_assert (offsetof (VdGeneric, parent) == 0, "VdDevice is cast to it");

static const VdKey keys[] = {
  { .name = "virtio-id",
    .type = VD_KEY_UINT,
    .help = "kind of device that the guest sees, as in virtio 1.3, chapter 5",
    .min = 1,
    .max = G_MAXUINT16,
    .flags = VD_KEY_REQUIRED },
  { .name = "queues",
    .type = VD_KEY_UINT,
    .fallback = "1",
    .help = "queues that the device serves",
    .max = 1024 },
  { .name = "features",
    .type = VD_KEY_STRING,
    .help = "feature bits: numbers, names or a 0x mask, with commas between" },
  { .name = "config",
    .type = VD_KEY_STRING,
    .help = "fields: NAME TYPE [ro|rw|w1c [VALUE|select|size|page]]; ...",
    .flags = VD_KEY_LIVE },
  { .name = "config-size",
    .type = VD_KEY_UINT,
    .help = "bytes of config space; zeroes fill it, more is refused",
    .min = 1,
    .max = VD_CONFIG_MAX },
  { .name = "config-hex",
    .type = VD_KEY_STRING,
    .help = "bytes under fields without a value, in hexadecimal",
    .flags = VD_KEY_LIVE },
  { .name = "config-file",
    .type = VD_KEY_PATH,
    .help = "the same from a binary file, read again on reload",
    .flags = VD_KEY_LIVE },
  { .name = "config-restore",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help = "SET_CONFIG with flags 1 restores all bytes while no ring is "
            "started, for a VM that moved here" },
  { .name = "page.*",
    .type = VD_KEY_STRING,
    .help = "page.N[.M]: what select fields show in the page field: "
            "TYPE VALUE; ...",
    .flags = VD_KEY_LIVE },
  { .name = "queue.*",
    .type = VD_KEY_STRING,
    .help = "queue.N, queue.A-B or queue.*: drain, hold, loopback, "
            "source=zero|random|file:PATH, sink=null|file:PATH" },
  { .name = "sink-limit",
    .type = VD_KEY_SIZE,
    .fallback = "1G",
    .help = "length that a sink's file may reach" },
  { .name = "shmem.*",
    .type = VD_KEY_STRING,
    .help = "shmem.N: a shared memory region: SIZE [ro|rw PATH]",
    .flags = VD_KEY_LIVE },
  { 0 },
};

/* Passes on what a parser found wrong with a key's value. */
static gboolean
refuse_key (const VdOptions *options, const char *key, GError *why,
            GError **error)
{
  vd_options_set_error (options, key, error, "%s", why->message);
  g_error_free (why);
  return FALSE;
}

/* Reads the bytes that lie under the fields.
 * @base: (out): (transfer full): NULL: none */
static gboolean
read_hex (const VdOptions *options, GByteArray **base, GError **error)
{
  const char *hex = vd_options_string (options, "config-hex");
  g_autoptr (GByteArray) bytes = NULL;
  GError *why = NULL;

  if (hex == NULL)
    return TRUE;
  if (vd_options_has (options, "config-file")) {
    vd_options_set_error (options, "config-hex", error,
                          "not together with config-file");
    return FALSE;
  }
  bytes = g_byte_array_new ();
  if (!vd_value_parse ((VdValueForm){ VD_VALUE_BYTES, 0 }, hex, bytes, &why))
    return refuse_key (options, "config-hex", why, error);
  *base = g_steal_pointer (&bytes);
  return TRUE;
}

static gboolean
read_file (const VdOptions *options, GByteArray **base, GError **error)
{
  const char *path = vd_options_string (options, "config-file");
  GError *why = NULL;
  char *bytes;
  gsize len;

  if (path == NULL)
    return TRUE;
  if (!g_file_test (path, G_FILE_TEST_IS_REGULAR)) {
    vd_options_set_error (options, "config-file", error,
                          "not a regular file that can be read");
    return FALSE;
  }
  if (!g_file_get_contents (path, &bytes, &len, &why))
    return refuse_key (options, "config-file", why, error);
  if (len > VD_CONFIG_MAX) {
    g_free (bytes);
    vd_options_set_error (options, "config-file", error,
                          "the file has more than %u bytes", VD_CONFIG_MAX);
    return FALSE;
  }
  *base = g_byte_array_new_take ((guint8 *) bytes, len);
  return TRUE;
}

/* Returns: (transfer full): what the config keys say, or NULL.
 * @with_file: FALSE to open nothing */
static VdLayout *
read_layout (const VdOptions *options, gboolean with_file, GError **error)
{
  g_autoptr (GByteArray) base = NULL;
  g_autoptr (VdLayout) layout = NULL;
  GError *why = NULL;

  if (!read_hex (options, &base, error) ||
      (with_file && !read_file (options, &base, error)))
    return NULL;
  layout = vd_layout_parse (vd_options_string (options, "config"), &why);
  if (layout == NULL) {
    refuse_key (options, "config", why, error);
    return NULL;
  }
  if (base != NULL)
    vd_layout_set_base (layout, base->data, base->len);
  if (vd_options_has (options, "config-size") &&
      !vd_layout_set_len (
          layout, (guint) vd_options_uint (options, "config-size"), &why)) {
    refuse_key (options, "config-size", why, error);
    return NULL;
  }
  return g_steal_pointer (&layout);
}

/* What vd_options_foreach() carries along. */
typedef struct {
  VdPages *pages;
  const VdOptions *options;
} PageReader;

static gboolean
add_page (const char *suffix, const char *value, gpointer user_data,
          GError **error)
{
  PageReader *reader = user_data;
  g_autofree char *key = g_strconcat ("page.", suffix, NULL);
  GError *why = NULL;

  return vd_pages_add (reader->pages, suffix, value, &why) ||
         refuse_key (reader->options, key, why, error);
}

/* Returns: (transfer full): the window of @layout with all pages, or NULL. */
static VdPages *
read_pages (const VdOptions *options, const VdLayout *layout, GError **error)
{
  GError *why = NULL;
  g_autoptr (VdPages) pages = vd_pages_new (layout, &why);
  PageReader reader = { .pages = pages, .options = options };

  if (pages == NULL) {
    refuse_key (options, "config", why, error);
    return NULL;
  }
  if (!vd_options_foreach (options, "page.", add_page, &reader, error))
    return NULL;
  return g_steal_pointer (&pages);
}

static gboolean
read_features (const VdOptions *options, guint64 *ret, GError **error)
{
  GError *why = NULL;

  return vd_features_parse (vd_options_string (options, "features"),
                            (guint) vd_options_uint (options, "virtio-id"), ret,
                            &why) ||
         refuse_key (options, "features", why, error);
}

static gboolean
generic_check (VdOptions *options, GError **error)
{
  g_autoptr (VdQueueMenu) menu = vd_queue_menu_new (
      options, (guint) vd_options_uint (options, "queues"), error);
  g_autoptr (VdShmFiles) shm = NULL;
  g_autoptr (VdLayout) layout = NULL;
  g_autoptr (VdPages) pages = NULL;
  guint64 features;

  if (menu == NULL || !read_features (options, &features, error))
    return FALSE;
  shm = vd_shm_files_new (options, error);
  if (shm == NULL)
    return FALSE;
  layout = read_layout (options, FALSE, error);
  if (layout == NULL)
    return FALSE;
  pages = read_pages (options, layout, error);
  return pages != NULL;
}

static void
generic_close (VdDevice *dev)
{
  VdGeneric *self = (VdGeneric *) dev;

  vd_write_log_free (self->writes);
  vd_shm_files_free (self->shm);
  vd_queue_menu_free (self->menu);
  vd_pages_free (self->pages);
  vd_layout_free (self->layout);
  g_free (self);
}

/* Fills config space from the layout. */
static void
make_config (VdGeneric *self, const VdOptions *options)
{
  VdDevice *dev = &self->parent;
  guint len = self->layout->bytes->len;

  vd_config_init (&dev->config, len);
  vd_layout_apply (self->layout, &dev->config);
  vd_pages_fill (self->pages, &dev->config);
  dev->offer_config = len > 0;
  dev->restores_config = vd_options_bool (options, "config-restore");
  self->writes = vd_write_log_new (self->layout, &dev->config);
  if (len > CONFIG_LEN_COMMON)
    g_message ("%s: config space has %u bytes; QEMU reads at most %u",
               vd_options_origin (options), len, CONFIG_LEN_COMMON);
}

/* Returns: (transfer full): the shared memory regions, with their files open. */
static VdShmFiles *
read_shm (const VdOptions *options, GError **error)
{
  g_autoptr (VdShmFiles) shm = vd_shm_files_new (options, error);

  return shm != NULL && vd_shm_files_open (shm, options, error)
             ? g_steal_pointer (&shm)
             : NULL;
}

/* Reads all keys and opens all files into @self, which is empty. */
static gboolean
read_options (VdGeneric *self, VdOptions *options, GError **error)
{
  VdDevice *dev = &self->parent;

  dev->virtio_id = (guint16) vd_options_uint (options, "virtio-id");
  dev->n_queues = (guint16) vd_options_uint (options, "queues");
  if (!read_features (options, &dev->features, error))
    return FALSE;
  self->layout = read_layout (options, TRUE, error);
  if (self->layout == NULL)
    return FALSE;
  self->pages = read_pages (options, self->layout, error);
  if (self->pages == NULL)
    return FALSE;
  self->shm = read_shm (options, error);
  if (self->shm == NULL)
    return FALSE;
  dev->shm_sizes = vd_shm_files_sizes (self->shm);
  self->menu = vd_queue_menu_new (options, dev->n_queues, error);
  return self->menu != NULL &&
         vd_queue_menu_open (self->menu,
                             vd_options_uint (options, "sink-limit"), options,
                             error);
}

static VdDevice *
generic_open (VdOptions *options, GError **error)
{
  VdGeneric *self = g_new0 (VdGeneric, 1);

  if (!read_options (self, options, error)) {
    generic_close (&self->parent);
    return NULL;
  }
  make_config (self, options);
  return &self->parent;
}

static gboolean
generic_reload (VdDevice *dev, VdOptions *options, GError **error)
{
  VdGeneric *self = (VdGeneric *) dev;
  g_autoptr (VdLayout) next = read_layout (options, TRUE, error);
  g_autoptr (VdShmFiles) shm = NULL;
  g_autoptr (VdPages) pages = NULL;
  GError *why = NULL;
  gboolean changed;

  if (next == NULL)
    return FALSE;
  if (!vd_layout_check_same (self->layout, next, &why))
    return refuse_key (options, "config", why, error);
  shm = read_shm (options, error);
  if (shm == NULL || !vd_shm_files_check_same (self->shm, shm, options, error))
    return FALSE;
  /* The window's fields are those of the layout that stays. */
  pages = read_pages (options, self->layout, error);
  if (pages == NULL)
    return FALSE;
  vd_pages_free (self->pages);
  self->pages = g_steal_pointer (&pages);
  changed = vd_layout_update (self->layout, next, &dev->config);
  changed |= vd_pages_fill (self->pages, &dev->config);
  vd_write_log_sync (self->writes);
  if (changed)
    vd_device_config_changed (dev);
  vd_shm_files_take (self->shm, shm, dev);
  return TRUE;
}

static void
generic_reset (VdDevice *dev)
{
  VdGeneric *self = (VdGeneric *) dev;

  vd_pages_reset (self->pages, &dev->config);
  vd_queue_menu_reset (self->menu);
  vd_shm_files_hide (self->shm);
}

static void
generic_shm_ready (VdDevice *dev)
{
  vd_shm_files_show (((VdGeneric *) dev)->shm, dev);
}

static VdWhen
generic_written (VdDevice *dev, guint offset, guint len)
{
  VdGeneric *self = (VdGeneric *) dev;

  if (vd_pages_is_selector (self->pages, offset, len))
    vd_pages_fill (self->pages, &dev->config);
  vd_write_log_add (self->writes, dev->id, offset, len);
  return VD_NOW;
}

/* Config space is all the state that there is. */
static gboolean
generic_save (VdDevice *dev, GByteArray *state, GError **error)
{
  return TRUE;
}

/* What is configured here gives way to what the guest has seen there. */
static gboolean
generic_load (VdDevice *dev, const guint8 *config, const guint8 *state,
              gsize len, GError **error)
{
  if (len != 0) {
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                 "a generic device has no state beyond config space");
    return FALSE;
  }
  vd_config_restore (&dev->config, 0, config, dev->config.len);
  vd_pages_fill (((VdGeneric *) dev)->pages, &dev->config);
  vd_write_log_sync (((VdGeneric *) dev)->writes);
  return TRUE;
}

static void
generic_dump (VdDevice *dev, GString *text)
{
  const VdGeneric *self = (const VdGeneric *) dev;

  for (guint i = 0; i < self->layout->fields->len; i++) {
    const VdField *field = g_ptr_array_index (self->layout->fields, i);

    if (strcmp (field->name, VD_FIELD_PADDING) == 0)
      continue;
    g_string_append_printf (text, "config %s: ", field->name);
    vd_value_format (field->form.type, dev->config.bytes + field->offset,
                     field->len, text);
    g_string_append_c (text, '\n');
  }
  if (self->layout->fields->len == 0 && dev->config.len > 0) {
    g_string_append (text, "config: ");
    vd_value_format (VD_VALUE_BYTES, dev->config.bytes, dev->config.len, text);
    g_string_append_c (text, '\n');
  }
  vd_queue_menu_dump (self->menu, text);
  vd_shm_files_dump (self->shm, text);
}

static guint
generic_wants (VdQueue *queue, gpointer user_data)
{
  const VdGeneric *self = user_data;

  return vd_queue_menu_wants (self->menu, queue);
}

static void
generic_handle (VdQueue *queue, VdChain **chains, guint n_chains,
                gpointer user_data)
{
  VdGeneric *self = user_data;

  vd_queue_menu_handle (self->menu, queue, chains, n_chains);
}

const VdDeviceOps vd_generic_ops = {
  .kind = "generic",
  .help = "any virtio device: config space from text, queues from a menu",
  .keys = keys,
  .queue = { .wants = generic_wants, .handle = generic_handle },
  .check = generic_check,
  .open = generic_open,
  .close = generic_close,
  .reload = generic_reload,
  .reset = generic_reset,
  .written = generic_written,
  .shm_ready = generic_shm_ready,
  .save = generic_save,
  .load = generic_load,
  .dump = generic_dump,
};
