/* SPDX-License-Identifier: BSD-3-Clause
 *
 * keys.c - the options of a disk
 */
#include "devices/blk/keys.h"

#include <string.h>

#include "devices/blk/disk.h"

static const char *const cache_modes[] = { "writeback", "writethrough", "none",
                                           "unsafe", NULL };
static const char *const engines[] = { "auto", "io_uring", "threads", NULL };
static const char *const on_errors[] = { "report", "stop", NULL };
static const char *const erase_modes[] = { "auto", "overwrite", "off", NULL };
static const char *const locks[] = { "off", "auto", "start", NULL };

const VdKey vd_blk_keys[] = {
  { .name = "image",
    .type = VD_KEY_PATH,
    .help = "file or block device with the disk's bytes, fd:N, fd:NAME, or "
            "nbd://...",
    .flags = VD_KEY_REQUIRED | VD_KEY_FD | VD_KEY_URI },
  { .name = "read-only",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help = "whether the guest may only read" },
  { .name = "serial",
    .type = VD_KEY_STRING,
    .help = "at most 20 characters; by default made of the image's path" },
  { .name = "cache",
    .type = VD_KEY_ENUM,
    .fallback = "writeback",
    .help = "none: O_DIRECT; unsafe: the guest's flushes do nothing",
    .choices = cache_modes },
  { .name = "block-size",
    .type = VD_KEY_SIZE,
    .help = "logical block, a power of two; by default as the image has it",
    .min = VD_SECTOR,
    .max = VD_BLOCK_SIZE_MAX },
  { .name = "size",
    .type = VD_KEY_SIZE,
    .help = "of the disk; by default the image's, as it grows and shrinks",
    .min = VD_SECTOR,
    .max = G_MAXINT64,
    .flags = VD_KEY_LIVE },
  { .name = "geometry",
    .type = VD_KEY_STRING,
    .help = "CYLINDERS,HEADS,SECTORS for firmware that asks; by default none" },
  { .name = "discard",
    .type = VD_KEY_BOOL,
    .fallback = "yes",
    .help = "whether discarded blocks are given back to the host" },
  { .name = "secure-erase",
    .type = VD_KEY_ENUM,
    .fallback = "auto",
    .help = "overwrite: zeroes and a flush; auto: as the block device can",
    .choices = erase_modes },
  { .name = "lifetime",
    .type = VD_KEY_STRING,
    .fallback = "auto",
    .help = "wear: PRE-EOL,A,B in eMMC's terms, auto or off",
    .flags = VD_KEY_LIVE },
  { .name = "seg-max",
    .type = VD_KEY_UINT,
    .fallback = "126",
    .help = "segments of a request at most",
    .min = 1,
    .max = VD_CHAIN_MAX - 2 },
  { .name = "lock",
    .type = VD_KEY_ENUM,
    .fallback = "auto",
    .help = "auto: refuse an image that another program writes, as qemu does; "
            "start: while a guest runs, for migration",
    .choices = locks },
  { .name = "reconnect-delay",
    .type = VD_KEY_SECONDS,
    .fallback = "60",
    .help = "how long requests wait for a server that went away, before they "
            "fail" },
  { .name = "engine",
    .type = VD_KEY_ENUM,
    .fallback = "auto",
    .help = "how calls on the image are made",
    .choices = engines },
  { .name = "mapped",
    .type = VD_KEY_BOOL,
    .fallback = "yes",
    .help = "whether what the host has in memory is copied by a mapping of "
            "the image, without system calls" },
  { .name = "on-error",
    .type = VD_KEY_ENUM,
    .fallback = "report",
    .help = "stop: the guest waits until the key-files are read again",
    .choices = on_errors,
    .flags = VD_KEY_LIVE },
  { .name = "on-enospc",
    .type = VD_KEY_ENUM,
    .fallback = "stop",
    .help = "stop: the guest waits until there is room again",
    .choices = on_errors,
    .flags = VD_KEY_LIVE },
  { .name = "iops",
    .type = VD_KEY_UINT,
    .help = "requests a second at most",
    .min = 1,
    .flags = VD_KEY_LIVE },
  { .name = "iops-burst",
    .type = VD_KEY_UINT,
    .help = "requests at once after a rest; by default a tenth of iops",
    .min = 1,
    .flags = VD_KEY_LIVE },
  { .name = "bps",
    .type = VD_KEY_SIZE,
    .help = "bytes that are read and written a second at most",
    .min = VD_SECTOR,
    .flags = VD_KEY_LIVE },
  { .name = "bps-burst",
    .type = VD_KEY_SIZE,
    .help = "bytes at once after a rest; by default a tenth of bps",
    .min = VD_SECTOR,
    .flags = VD_KEY_LIVE },
  { .name = "sqpoll",
    .type = VD_KEY_UINT,
    .help = "milliseconds that the kernel polls for submissions to io_uring; "
            "costs a processor, by default it does not",
    .min = 1,
    .max = 60000 },
  { .name = "iopoll",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help = "whether the thread looks for answers of the disk instead of "
            "sleeping; with cache=none, on disks with polled queues" },
  { .name = "register-memory",
    .type = VD_KEY_BOOL,
    .fallback = "no",
    .help =
        "whether guest memory is pinned and registered with io_uring; never "
        "with a balloon or virtio-mem" },
  { .name = "threads",
    .type = VD_KEY_UINT,
    .help = "that the queues share; by default each has its own",
    .min = 1,
    .max = 1024 },
  /* qemu asks for as many as the guest has CPUs and fails if there are fewer. */
  { .name = "queues",
    .type = VD_KEY_UINT,
    .fallback = "64",
    .help = "queues that the device offers",
    .min = 1,
    .max = 1024 },
  { 0 },
};

guint
vd_blk_choice (VdOptions *options, const char *name)
{
  const char *value = vd_options_string (options, name);
  const VdKey *key = vd_blk_keys;
  guint i = 0;

  while (strcmp (key->name, name) != 0)
    key++;
  while (strcmp (key->choices[i], value) != 0)
    i++;
  return i;
}

guint
vd_blk_block_size (VdOptions *options)
{
  return vd_options_has (options, "block-size")
             ? (guint) vd_options_uint (options, "block-size")
             : 0;
}

/* Returns: whether @text is a number from 1 to @max. */
static gboolean
parse_count (const char *text, guint64 max, guint64 *ret)
{
  return g_ascii_string_to_unsigned (text, 10, 1, max, ret, NULL);
}

gboolean
vd_blk_geometry (VdOptions *options, struct virtio_blk_geometry *ret)
{
  const char *text = vd_options_string (options, "geometry");
  g_auto (GStrv) parts = g_strsplit (text != NULL ? text : "", ",", -1);
  guint64 cylinders, heads, sectors;

  if (g_strv_length (parts) != 3 ||
      !parse_count (parts[0], G_MAXUINT16, &cylinders) ||
      !parse_count (parts[1], G_MAXUINT8, &heads) ||
      !parse_count (parts[2], G_MAXUINT8, &sectors))
    return FALSE;
  ret->cylinders = GUINT16_TO_LE ((guint16) cylinders);
  ret->heads = (guint8) heads;
  ret->sectors = (guint8) sectors;
  return TRUE;
}

static gboolean
check_register_memory (VdOptions *options, GError **error)
{
  const char *why = NULL;

  if (vd_blk_choice (options, "engine") == VD_ENGINE_THREADS)
    why = "not with engine=threads, which has no use for it";
  else if (vd_options_bool (options, "postcopy"))
    why = "not with postcopy=yes, which brings pages after they were pinned";
  if (why == NULL || !vd_options_bool (options, "register-memory"))
    return TRUE;
  vd_options_set_error (options, "register-memory", error, "%s", why);
  return FALSE;
}

static gboolean
check_iopoll (VdOptions *options, GError **error)
{
  const char *why = NULL;

  if (vd_nbd_is_uri (vd_options_string (options, "image")))
    why = "not with a disk on a server";
  else if (vd_blk_choice (options, "cache") != VD_CACHE_NONE)
    why = "only with cache=none";
  else if (vd_blk_choice (options, "engine") == VD_ENGINE_THREADS)
    why = "not with engine=threads";
  else if (vd_options_has (options, "sqpoll"))
    why = "not with sqpoll, which serves another ring";
  else if (vd_options_bool (options, "register-memory"))
    why = "not with register-memory=yes, which serves another ring";
  if (why == NULL || !vd_options_bool (options, "iopoll"))
    return TRUE;
  vd_options_set_error (options, "iopoll", error, "%s", why);
  return FALSE;
}

gboolean
vd_blk_check (VdOptions *options, GError **error)
{
  const char *serial = vd_options_string (options, "serial");
  guint size = vd_blk_block_size (options);
  struct virtio_blk_geometry geometry;

  if ((size & (size - 1)) != 0) {
    vd_options_set_error (options, "block-size", error, "not a power of two");
    return FALSE;
  }
  if (serial != NULL && strlen (serial) > VIRTIO_BLK_ID_BYTES) {
    vd_options_set_error (options, "serial", error, "longer than %d characters",
                          VIRTIO_BLK_ID_BYTES);
    return FALSE;
  }
  if (vd_options_has (options, "geometry") &&
      !vd_blk_geometry (options, &geometry)) {
    vd_options_set_error (options, "geometry", error,
                          "not three numbers with commas, at most 65535, 255 "
                          "and 255");
    return FALSE;
  }
  if (!check_iopoll (options, error) || !check_register_memory (options, error))
    return FALSE;
  if (!vd_lifetime_check (vd_options_string (options, "lifetime"))) {
    vd_options_set_error (options, "lifetime", error,
                          "not auto, off or three numbers with commas");
    return FALSE;
  }
  return TRUE;
}
