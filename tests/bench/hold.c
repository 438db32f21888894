/* SPDX-License-Identifier: BSD-3-Clause
 *
 * hold.c - keeps devices connected, their rings started and idle
 *
 *   vhold blk|fs QUEUES SOCKET...
 *
 * Says "held" once all are, and leaves them when standard input ends.  For
 * scale.py, which looks at the back-end meanwhile.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/conversation.h"

#define RING_SIZE 256
#define PER_RING  (16u << 10) /* bytes of guest memory */

typedef struct {
  VtGuest *guest;
  VtFrontend *fe;
  VtRing **rings;
  guint n_rings;
} Held;

static void
hold (Held *held, const char *path, gboolean is_fs, guint n_queues)
{
  held->n_rings = n_queues + (is_fs ? 1 : 0);
  held->guest = vt_guest_new (held->n_rings * PER_RING);
  held->rings = g_new (VtRing *, held->n_rings);
  for (guint i = 0; i < held->n_rings; i++)
    held->rings[i] = vt_ring_new (held->guest, i, RING_SIZE, VT_RING_EVENT_IDX);
  held->fe = vt_frontend_new (vt_connect (path));
  held->fe->config_len = is_fs ? 0 : 60;
  held->fe->n_queues = held->n_rings;
  vt_frontend_hello (held->fe, VT_ORDER_QEMU_7, held->guest, held->rings,
                     held->n_rings);
  vt_frontend_start (held->fe);
  vt_barrier (held->fe);
}

static void
let_go (Held *held)
{
  vt_frontend_stop (held->fe, NULL);
  vt_frontend_free (held->fe);
  for (guint i = 0; i < held->n_rings; i++)
    vt_ring_free (held->rings[i]);
  g_free (held->rings);
  vt_guest_free (held->guest);
}

int
main (int argc, char **argv)
{
  guint n_queues = argc > 2 ? (guint) g_ascii_strtoull (argv[2], NULL, 10) : 0;
  guint n_sockets = argc > 3 ? (guint) argc - 3 : 0;
  g_autofree Held *held = g_new0 (Held, n_sockets);
  char byte;

  if (n_queues == 0 || n_sockets == 0) {
    fputs ("vhold blk|fs QUEUES SOCKET...\n", stderr);
    return 2;
  }
  for (guint i = 0; i < n_sockets; i++)
    hold (&held[i], argv[3 + i], strcmp (argv[1], "fs") == 0, n_queues);
  puts ("held");
  fflush (stdout);
  while (read (STDIN_FILENO, &byte, 1) > 0)
    ;
  for (guint i = 0; i < n_sockets; i++)
    let_go (&held[i]);
  return 0;
}
