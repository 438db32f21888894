/* SPDX-License-Identifier: BSD-3-Clause
 *
 * features.c - names of device feature bits (virtio 1.3, chapter 5)
 */
#include "devices/generic/features.h"

#include <errno.h>
#include <string.h>

#include "devices/generic/value.h"
#include "devices/nearest.h"

/* virtio 1.3, 6: bits 24 to 49 are the ring's and the transport's. */
#define DEVICE_BITS (~0ull >> 40 | ~0ull << 50)

/* One device: its id and its bits' names, by number.  Names are those of the
 * specification, lower case, with dashes. */
typedef struct {
  guint virtio_id;
  const char *names[24]; /* NULL: the bit has none */
} DeviceBits;

static const DeviceBits devices[] = {
  { 1,
    { [0] = "csum",
      [1] = "guest-csum",
      [2] = "ctrl-guest-offloads",
      [3] = "mtu",
      [5] = "mac",
      [7] = "guest-tso4",
      [8] = "guest-tso6",
      [9] = "guest-ecn",
      [10] = "guest-ufo",
      [11] = "host-tso4",
      [12] = "host-tso6",
      [13] = "host-ecn",
      [14] = "host-ufo",
      [15] = "mrg-rxbuf",
      [16] = "status",
      [17] = "ctrl-vq",
      [18] = "ctrl-rx",
      [19] = "ctrl-vlan",
      [21] = "guest-announce",
      [22] = "mq",
      [23] = "ctrl-mac-addr" } },
  { 2,
    { [1] = "size-max",
      [2] = "seg-max",
      [4] = "geometry",
      [5] = "ro",
      [6] = "blk-size",
      [9] = "flush",
      [10] = "topology",
      [11] = "config-wce",
      [12] = "mq",
      [13] = "discard",
      [14] = "write-zeroes",
      [15] = "lifetime",
      [16] = "secure-erase",
      [17] = "zoned" } },
  { 3, { [0] = "size", [1] = "multiport", [2] = "emerg-write" } },
  { 5,
    { [0] = "must-tell-host",
      [1] = "stats-vq",
      [2] = "deflate-on-oom",
      [3] = "free-page-hint",
      [4] = "page-poison",
      [5] = "page-reporting" } },
  { 8, { [0] = "inout", [1] = "hotplug", [2] = "change", [3] = "t10-pi" } },
  { 9, { [0] = "mount-tag" } },
  { 16,
    { [0] = "virgl",
      [1] = "edid",
      [2] = "resource-uuid",
      [3] = "resource-blob",
      [4] = "context-init" } },
  { 19, { [0] = "stream", [1] = "seqpacket", [2] = "no-implied-stream" } },
  { 20,
    { [0] = "revision-1",
      [1] = "cipher-stateless",
      [2] = "hash-stateless",
      [3] = "mac-stateless",
      [4] = "aead-stateless",
      [5] = "akcipher-stateless" } },
  { 23,
    { [0] = "input-range",
      [1] = "domain-range",
      [2] = "map-unmap",
      [3] = "bypass",
      [4] = "probe",
      [5] = "mmio",
      [6] = "bypass-config" } },
  { 24, { [0] = "acpi-pxm", [1] = "unplugged-inaccessible" } },
  { 26, { [0] = "notification" } },
  { 32, { [0] = "p2a-channels", [1] = "shared-memory" } },
  { 34, { [0] = "zero-length-request" } },
  { 40,
    { [0] = "vendor-hci",
      [1] = "msft-ext",
      [2] = "aosp-ext",
      [3] = "config-v2" } },
  { 41, { [0] = "irq" } },
};

static const DeviceBits *
find_device (guint virtio_id)
{
  for (guint i = 0; i < G_N_ELEMENTS (devices); i++)
    if (devices[i].virtio_id == virtio_id)
      return &devices[i];
  return NULL;
}

/* Returns: FALSE with @error set that says which names there are. */
static gboolean
refuse_name (const DeviceBits *device, guint virtio_id, const char *word,
             GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new ();
  const char *near;

  for (guint bit = 0; device != NULL && bit < G_N_ELEMENTS (device->names);
       bit++)
    if (device->names[bit] != NULL)
      g_ptr_array_add (names, (gpointer) device->names[bit]);
  g_ptr_array_add (names, NULL);
  near = vd_nearest (word, (const char *const *) names->pdata);
  if (near != NULL)
    return vd_refuse (error, "unknown feature '%s'; did you mean '%s'?", word,
                      near);
  return vd_refuse (error,
                    "'%s' is not a bit number, a 0x mask or a feature that "
                    "virtio id %u has a name for",
                    word, virtio_id);
}

static gboolean
parse_name (const char *word, guint virtio_id, guint64 *ret, GError **error)
{
  const DeviceBits *device = find_device (virtio_id);

  for (guint bit = 0; device != NULL && bit < G_N_ELEMENTS (device->names);
       bit++)
    if (g_strcmp0 (device->names[bit], word) == 0) {
      *ret = 1ull << bit;
      return TRUE;
    }
  return refuse_name (device, virtio_id, word, error);
}

/* @ret: (out): the bits of one word */
static gboolean
parse_word (const char *word, guint virtio_id, guint64 *ret, GError **error)
{
  gboolean is_mask = g_str_has_prefix (word, "0x");
  guint64 number;
  char *end;

  if (!g_ascii_isdigit (word[0]))
    return parse_name (word, virtio_id, ret, error);
  errno = 0;
  number = g_ascii_strtoull (word, &end, is_mask ? 16 : 10);
  if (errno != 0 || *end != '\0' || (is_mask && word[2] == '\0') ||
      (!is_mask && number > 63))
    return vd_refuse (error, "'%s' is not a bit number, 0 to 63, or a 0x mask",
                      word);
  *ret = is_mask ? number : 1ull << number;
  return TRUE;
}

gboolean
vd_features_parse (const char *text, guint virtio_id, guint64 *ret,
                   GError **error)
{
  g_auto (GStrv) words = g_strsplit_set (text != NULL ? text : "", ", ", -1);
  guint64 all = 0, bits = 0;

  for (guint i = 0; words[i] != NULL; i++) {
    if (*words[i] == '\0')
      continue;
    if (!parse_word (words[i], virtio_id, &bits, error))
      return FALSE;
    if (bits & ~DEVICE_BITS)
      return vd_refuse (error,
                        "'%s': bits 24 to 49 belong to the ring and the "
                        "transport",
                        words[i]);
    all |= bits;
  }
  *ret = all;
  return TRUE;
}
