/* SPDX-License-Identifier: BSD-3-Clause
 *
 * example-rng.c - virtio-rng (virtio 1.3, 5.4): random bytes for the guest
 */
#include "tests/devices/example-rng.h"

#include <assert.h>
#include <linux/virtio_ids.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/random.h>

typedef struct {
  VdDevice parent;
  _Atomic gsize max_bytes; /* for one request; CONTROL writes, QUEUE reads */
  _Atomic guint64 n_bytes; /* served so far; QUEUE adds, CONTROL reads */
} Rng;
static_assert (offsetof (Rng, parent) == 0, "VdDevice is cast to it");

static const VdKey keys[] = {
  { .name = "max-bytes",
    .type = VD_KEY_SIZE,
    .fallback = "64k",
    .help = "random bytes that one request gets at most",
    .min = 1,
    .max = 1 << 20,
    .flags = VD_KEY_LIVE },
  { 0 },
};

static gboolean
rng_reload (VdDevice *dev, VdOptions *options, GError **error)
{
  Rng *rng = (Rng *) dev;

  rng->max_bytes = vd_options_uint (options, "max-bytes");
  return TRUE;
}

static VdDevice *
rng_open (VdOptions *options, GError **error)
{
  Rng *rng = g_new0 (Rng, 1);

  rng->parent.virtio_id = VIRTIO_ID_RNG;
  rng->parent.n_queues = (guint16) vd_options_uint (options, "queues");
  rng_reload (&rng->parent, options, error);
  return &rng->parent;
}

static void
rng_close (VdDevice *dev)
{
  g_free (dev);
}

/* Fills the writable part.  Returns: the bytes written. */
static guint32
rng_fill (const VdChain *chain, gsize max)
{
  gsize done = 0;

  for (guint i = 0; i < chain->n_in && done < max; i++) {
    gsize len = MIN (chain->in[i].iov_len, max - done);
    gssize n = getrandom (chain->in[i].iov_base, len, GRND_NONBLOCK);

    done += n > 0 ? (gsize) n : 0;
    if (n < (gssize) len)
      break; /* a short answer is a good one */
  }
  return (guint32) done;
}

static void
rng_handle (VdQueue *queue, VdChain **chains, guint n_chains,
            gpointer user_data)
{
  Rng *rng = user_data;

  for (guint i = 0; i < n_chains; i++) {
    guint32 written = rng_fill (chains[i], rng->max_bytes);

    atomic_fetch_add_explicit (&rng->n_bytes, written, memory_order_relaxed);
    vd_chain_complete (chains[i], written);
  }
}

static void
rng_dump (VdDevice *dev, GString *text)
{
  const Rng *rng = (const Rng *) dev;

  g_string_append_printf (text, "bytes: %" G_GUINT64_FORMAT "\n",
                          (guint64) rng->n_bytes);
}

const VdDeviceOps example_rng_ops = {
  .kind = "rng",
  .help = "random bytes from the host's kernel",
  .keys = keys,
  .queue = { .handle = rng_handle },
  .open = rng_open,
  .close = rng_close,
  .reload = rng_reload,
  .dump = rng_dump,
};
