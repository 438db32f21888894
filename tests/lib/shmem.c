/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/shmem.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vring/fd.h"

VtShmQuestion
vt_shm_receive (VtFrontend *fe)
{
  VtShmQuestion q;

  g_assert_cmpuint (
      vt_socket_receive (fe->channel, &q.header, sizeof q.header, &q.fd), ==,
      sizeof q.header);
  g_assert_cmpuint (q.header.size, ==, sizeof q.map);
  g_assert_cmpuint (vt_socket_receive (fe->channel, &q.map, sizeof q.map, NULL),
                    ==, sizeof q.map);
  return q;
}

void
vt_shm_send_answer (VtFrontend *fe, guint32 request, guint64 value,
                    guint32 size)
{
  struct {
    VdWireHeader header;
    guint8 value[8];
  } message = { .header = { request, VD_REPLY_FLAGS, size } };

  memcpy (message.value, &value, sizeof value);
  g_assert_true (vt_socket_send (fe->channel, &message,
                                 sizeof message.header + size, NULL, 0));
}

void
vt_shm_answer (VtFrontend *fe, const VtShmQuestion *question, guint64 value)
{
  g_assert_cmphex (question->header.flags, ==,
                   VD_WIRE_VERSION | VD_FLAG_NEED_REPLY);
  vt_shm_send_answer (fe, question->header.request, value, sizeof value);
}

/* The window. */

static void
cover (VtWindow *window, guint64 offset, guint64 len)
{
  g_assert_true (mmap (window->base + offset, len, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE,
                       -1, 0) != MAP_FAILED);
}

VtWindow *
vt_window_new (VtFrontend *fe, guint8 id, guint64 len)
{
  VtWindow *window = g_new0 (VtWindow, 1);
  VdWireShmemConfig config;

  g_assert_true (
      vt_send (fe, VD_GET_SHMEM_CONFIG, VD_WIRE_VERSION, NULL, 0, NULL, 0));
  vt_receive (fe, VD_GET_SHMEM_CONFIG, &config, sizeof config);
  g_assert_cmpuint (config.n_regions, ==, 1);
  for (guint i = 0; i < G_N_ELEMENTS (config.sizes); i++)
    g_assert_cmpuint (config.sizes[i], ==, i == id ? len : 0);
  *window = (VtWindow){ .fe = fe, .id = id, .len = len };
  window->base = mmap (NULL, len, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  g_assert_true (window->base != MAP_FAILED);
  window->mapped =
      g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, g_free);
  return window;
}

void
vt_window_free (VtWindow *window)
{
  if (window == NULL)
    return;
  munmap (window->base, window->len);
  g_hash_table_unref (window->mapped);
  g_free (window);
}

void
vt_window_reset (VtWindow *window)
{
  g_hash_table_remove_all (window->mapped);
  cover (window, 0, window->len);
}

static gboolean
overlaps (const VtWindow *window, const VdWireShmemMap *map)
{
  GHashTableIter iter;
  gpointer offset, len;

  g_hash_table_iter_init (&iter, window->mapped);
  while (g_hash_table_iter_next (&iter, &offset, &len))
    if (map->shm_offset < *(guint64 *) offset + *(guint64 *) len &&
        *(guint64 *) offset < map->shm_offset + map->len)
      return TRUE;
  return FALSE;
}

static gboolean
do_map (VtWindow *window, const VtShmQuestion *q)
{
  int prot = PROT_READ | (q->map.flags & VD_SHMEM_MAP_RW ? PROT_WRITE : 0);
  guint8 *at = window->base + q->map.shm_offset;

  if (q->fd < 0 || overlaps (window, &q->map) ||
      mmap (at, q->map.len, prot, MAP_SHARED | MAP_FIXED, q->fd,
            (off_t) q->map.fd_offset) == MAP_FAILED)
    return FALSE;
  /* The driver cannot get more than it was given. */
  if ((prot & PROT_WRITE) == 0)
    g_assert_cmpint (mprotect (at, q->map.len, PROT_READ | PROT_WRITE), ==, -1);
  g_hash_table_insert (window->mapped,
                       g_memdup2 (&q->map.shm_offset, sizeof (guint64)),
                       g_memdup2 (&q->map.len, sizeof (guint64)));
  return TRUE;
}

static gboolean
do_unmap (VtWindow *window, const VtShmQuestion *q)
{
  const guint64 *len = g_hash_table_lookup (window->mapped, &q->map.shm_offset);

  if (len == NULL || *len != q->map.len || q->fd >= 0)
    return FALSE;
  cover (window, q->map.shm_offset, q->map.len);
  g_hash_table_remove (window->mapped, &q->map.shm_offset);
  return TRUE;
}

static void
serve_one (VtWindow *window)
{
  VtShmQuestion q = vt_shm_receive (window->fe);
  gboolean ok = FALSE;

  g_assert_cmpuint (q.map.id, ==, window->id);
  g_assert_cmpuint (q.map.shm_offset, <=, window->len);
  g_assert_cmpuint (q.map.len, <=, window->len - q.map.shm_offset);
  g_assert_cmpuint (q.map.len, >, 0);
  if (q.header.request == VD_BACKEND_SHMEM_MAP)
    ok = do_map (window, &q);
  else if (q.header.request == VD_BACKEND_SHMEM_UNMAP)
    ok = do_unmap (window, &q);
  vd_clear_fd (&q.fd);
  window->n_refused += !ok;
  vt_shm_answer (window->fe, &q, ok ? 0 : 1);
}

void
vt_window_serve (VtWindow *window, guint n)
{
  for (guint i = 0; i < n; i++)
    serve_one (window);
}

void
vt_window_serve_rest (VtWindow *window)
{
  vt_barrier (window->fe);
  while (vt_wait_readable (window->fe->channel, 0))
    serve_one (window);
}

/* By the kernel, which does not mind what is there. */
gboolean
vt_window_read (const VtWindow *window, guint64 offset, void *to, gsize len)
{
  struct iovec local = { to, len }, remote = { window->base + offset, len };

  return process_vm_readv (getpid (), &local, 1, &remote, 1, 0) == (gssize) len;
}

gboolean
vt_window_write (const VtWindow *window, guint64 offset, const void *from,
                 gsize len)
{
  struct iovec local = { (void *) from, len };
  struct iovec remote = { window->base + offset, len };

  return process_vm_writev (getpid (), &local, 1, &remote, 1, 0) ==
         (gssize) len;
}
