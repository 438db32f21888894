/* SPDX-License-Identifier: BSD-3-Clause
 *
 * queues.c - the menu of queue behaviours
 *
 * Each queue has an item of its own, which its thread alone changes while it
 * runs; CONTROL reads the counters, so these are atomic.  Files are read and
 * written by that thread: only this queue waits for a slow disk.
 */
#include "devices/generic/queues.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "devices/generic/value.h"
#include "vring/fault.h"
#include "vring/fd.h"
#include "vring/iov.h"

typedef enum {
  DRAIN,
  HOLD,
  LOOPBACK,
  SOURCE_ZERO,
  SOURCE_RANDOM,
  SOURCE_FILE,
  SINK_NULL,
  SINK_FILE,
} Mode;

/* By Mode; a name that ends with ':' is followed by a path. */
static const char *const names[] = {
  "drain",         "hold",         "loopback",  "source=zero",
  "source=random", "source=file:", "sink=null", "sink=file:",
};

typedef struct {
  Mode mode;
  guint precedence; /* of the key that chose the mode; 0: none did */
  char *path;       /* SOURCE_FILE, SINK_FILE */
  int fd;           /* of path, or -1 */
  int urandom;      /* SOURCE_RANDOM: for kernels without entropy yet */
  guint64 offset;   /* QUEUE: where SOURCE_FILE reads next */
  guint64 limit;    /* SINK_FILE: the file's largest length */
  _Atomic guint64 n_chains, n_bytes, n_dropped; /* dropped: bytes not sunk */
} Item;

struct VdQueueMenu {
  guint n_items;
  Item items[];
};

/* A mode that a key chose, for a range of queues. */
typedef struct {
  guint first, last;
  guint precedence; /* 1: "*", 2: a range, 3: one queue */
} Range;

/* What vd_options_foreach() carries along. */
typedef struct {
  VdQueueMenu *menu;
  const VdOptions *options;
} Parser;

void
vd_queue_menu_free (VdQueueMenu *menu)
{
  for (guint i = 0; menu != NULL && i < menu->n_items; i++) {
    vd_clear_fd (&menu->items[i].fd);
    vd_clear_fd (&menu->items[i].urandom);
    g_free (menu->items[i].path);
  }
  g_free (menu);
}

/* Reads "*", "3" or "1-4". */
static gboolean
parse_range (const char *text, guint n_queues, Range *ret, GError **error)
{
  guint64 first, last;
  char *end;

  if (strcmp (text, "*") == 0) {
    *ret = (Range){ 0, n_queues - 1, 1 }; /* none if there is no queue */
    return TRUE;
  }
  first = last = g_ascii_strtoull (text, &end, 10);
  if (g_ascii_isdigit (*text) && *end == '-' && g_ascii_isdigit (end[1]))
    last = g_ascii_strtoull (end + 1, &end, 10);
  if (!g_ascii_isdigit (*text) || *end != '\0' || first > last)
    return vd_refuse (error, "the key is queue.N, queue.A-B or queue.*");
  if (last >= n_queues)
    return vd_refuse (error, "there are only %u queues, from 0 on", n_queues);
  *ret = (Range){ (guint) first, (guint) last, strchr (text, '-') ? 2 : 3 };
  return TRUE;
}

/* @path: (out): what follows the mode's name; NULL if it takes no path */
static gboolean
parse_mode (const char *text, Mode *mode, const char **path, GError **error)
{
  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    gsize len = strlen (names[i]);
    gboolean takes_path = names[i][len - 1] == ':';

    if (strncmp (text, names[i], len) != 0 || takes_path != (text[len] != '\0'))
      continue;
    *mode = (Mode) i;
    *path = takes_path ? text + len : NULL;
    return TRUE;
  }
  return vd_refuse (error, "not a mode (drain, hold, loopback, source=zero, "
                           "source=random, source=file:PATH, sink=null, "
                           "sink=file:PATH)");
}

static gboolean
choose (Parser *parser, const Range *range, Mode mode, const char *path,
        GError **error)
{
  for (guint i = range->first; i <= range->last; i++) {
    Item *item = &parser->menu->items[i];

    if (item->precedence == range->precedence)
      return vd_refuse (error, "another key is for queue %u too", i);
    if (item->precedence > range->precedence)
      continue;
    item->precedence = range->precedence;
    item->mode = mode;
    g_free (item->path);
    item->path =
        path != NULL ? vd_options_resolve (parser->options, path) : NULL;
  }
  return TRUE;
}

/* Reads one key; errors without the origin. */
static gboolean
parse_key (Parser *parser, const char *suffix, const char *value,
           GError **error)
{
  Range range = { 0 };
  Mode mode = DRAIN;
  const char *path = NULL;

  if (!parse_range (suffix, parser->menu->n_items, &range, error) ||
      !parse_mode (value, &mode, &path, error))
    return FALSE;
  return parser->menu->n_items == 0 ||
         choose (parser, &range, mode, path, error);
}

static gboolean
add_key (const char *suffix, const char *value, gpointer user_data,
         GError **error)
{
  Parser *parser = user_data;
  g_autofree char *key = g_strconcat ("queue.", suffix, NULL);
  g_autoptr (GError) why = NULL;

  if (parse_key (parser, suffix, value, &why))
    return TRUE;
  vd_options_set_error (parser->options, key, error, "%s", why->message);
  return FALSE;
}

VdQueueMenu *
vd_queue_menu_new (const VdOptions *options, guint n_queues, GError **error)
{
  g_autoptr (VdQueueMenu) menu =
      g_malloc0 (sizeof *menu + n_queues * sizeof menu->items[0]);
  Parser parser = { .menu = menu, .options = options };

  menu->n_items = n_queues;
  for (guint i = 0; i < n_queues; i++)
    menu->items[i].fd = menu->items[i].urandom = -1;
  if (!vd_options_foreach (options, "queue.", add_key, &parser, error))
    return NULL;
  return g_steal_pointer (&menu);
}

/* Other kinds of files may block for ever, and so would the queue. */
static gboolean
open_file (Item *item, GError **error)
{
  int flags =
      item->mode == SOURCE_FILE ? O_RDONLY : O_WRONLY | O_APPEND | O_CREAT;
  struct stat stat;

  item->fd = open (item->path, flags | O_CLOEXEC | O_NONBLOCK, 0600);
  if (item->fd < 0 || fstat (item->fd, &stat) < 0)
    return vd_refuse (error, "%s: %s", item->path, g_strerror (errno));
  if (!S_ISREG (stat.st_mode))
    return vd_refuse (error, "%s: not a regular file", item->path);
  return TRUE;
}

static gboolean
open_item (Item *item, GError **error)
{
  if (item->mode == SOURCE_RANDOM) {
    item->urandom = open ("/dev/urandom", O_RDONLY | O_CLOEXEC);
    return item->urandom >= 0 ||
           vd_refuse (error, "/dev/urandom: %s", g_strerror (errno));
  }
  return item->path == NULL || open_file (item, error);
}

gboolean
vd_queue_menu_open (VdQueueMenu *menu, guint64 sink_limit,
                    const VdOptions *options, GError **error)
{
  for (guint i = 0; i < menu->n_items; i++) {
    Item *item = &menu->items[i];
    g_autoptr (GError) why = NULL;

    item->limit = sink_limit;
    if (open_item (item, &why))
      continue;
    g_set_error (error, VD_OPTIONS_ERROR, VD_OPTIONS_ERROR_BAD_VALUE,
                 "%s: queue %u: %s%s: %s", vd_options_origin (options), i,
                 names[item->mode], item->path != NULL ? item->path : "",
                 why->message);
    return FALSE;
  }
  return TRUE;
}

void
vd_queue_menu_reset (VdQueueMenu *menu)
{
  for (guint i = 0; i < menu->n_items; i++)
    menu->items[i].offset = 0;
}

/* A turn ends after so many chains, so that a stop is seen soon. */
#define SLOW_BATCH 8

guint
vd_queue_menu_wants (const VdQueueMenu *menu, const VdQueue *queue)
{
  switch (menu->items[vd_queue_index (queue)].mode) {
  case HOLD: return 0;
  case DRAIN:
  case SINK_NULL: return VD_BATCH_MAX;
  case LOOPBACK:
  case SOURCE_ZERO:
  case SOURCE_RANDOM:
  case SOURCE_FILE:
  case SINK_FILE: break;
  }
  return SLOW_BATCH;
}

/* Copies between two lists, whose buffers may overlap, for they are the
 * guest's.  Returns: the bytes copied. */
static gsize
copy_iov (const struct iovec *in, guint n_in, const struct iovec *out,
          guint n_out, gsize max)
{
  gsize in_at = 0, out_at = 0, done = 0;

  while (n_in > 0 && n_out > 0 && done < max) {
    gsize len = MIN (in->iov_len - in_at, out->iov_len - out_at);

    len = MIN (len, max - done);
    memmove ((guint8 *) in->iov_base + in_at,
             (const guint8 *) out->iov_base + out_at, len);
    done += len;
    in_at += len;
    out_at += len;
    if (in_at == in->iov_len) {
      in++, n_in--;
      in_at = 0;
    }
    if (out_at == out->iov_len) {
      out++, n_out--;
      out_at = 0;
    }
  }
  return done;
}

/* Returns: the bytes put to @to, at most @len. */
static gsize
fill_random (const Item *item, guint8 *to, gsize len)
{
  gsize done = 0;

  while (done < len) {
    gssize n = getrandom (to + done, len - done, GRND_NONBLOCK);

    /* Early in a boot: weaker, but a guest that waits for its first random
     * bytes would wait for ever. */
    if (n < 0 && errno == EAGAIN)
      n = read (item->urandom, to + done, len - done);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      break;
    done += (gsize) n;
  }
  return done;
}

static gsize
source_random (const Item *item, VdChain *chain, gsize max)
{
  gsize done = 0;

  for (guint i = 0; i < chain->n_in && done < max; i++) {
    gsize len = MIN (chain->in[i].iov_len, max - done);
    gsize n = fill_random (item, chain->in[i].iov_base, len);

    done += n;
    if (n == len)
      continue;
    if (errno == EFAULT)
      vd_chain_fault (chain);
    break;
  }
  return done;
}

/* Reads on from where the last chain ended. */
static gsize
source_file (Item *item, VdChain *chain, gsize max)
{
  struct iovec *iov = chain->in;
  guint n_iov = vd_iov_truncate (iov, chain->n_in, max);
  gsize done = 0;

  while (n_iov > 0) {
    gssize n = preadv (item->fd, iov, (int) MIN (n_iov, IOV_MAX),
                       (off_t) item->offset);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno == EFAULT)
      vd_chain_fault (chain);
    if (n < 0 || (n == 0 && item->offset == 0))
      break; /* an error, or an empty file */
    item->offset = n > 0 ? item->offset + (guint64) n : 0;
    done += (gsize) n;
    vd_iov_skip (&iov, &n_iov, (gsize) n);
  }
  return done;
}

/* Appends.  The length is asked each time, because queues may share a file. */
static gsize
sink_file (Item *item, VdChain *chain, gsize max)
{
  struct iovec *iov = chain->out;
  gsize done = 0;
  struct stat stat;
  guint n_iov;

  if (fstat (item->fd, &stat) < 0 || (guint64) stat.st_size >= item->limit)
    return 0;
  max = MIN (max, item->limit - (guint64) stat.st_size);
  n_iov = vd_iov_truncate (iov, chain->n_out, max);
  while (n_iov > 0) {
    gssize n = writev (item->fd, iov, (int) MIN (n_iov, IOV_MAX));

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno == EFAULT)
      vd_chain_fault (chain);
    if (n <= 0)
      break;
    done += (gsize) n;
    vd_iov_skip (&iov, &n_iov, (gsize) n);
  }
  return done;
}

static void
count (_Atomic guint64 *counter, guint64 n)
{
  atomic_fetch_add_explicit (counter, n, memory_order_relaxed);
}

/* Returns: the bytes written to the chain. */
static gsize
serve (Item *item, VdChain *chain)
{
  gsize room = MIN (chain->in_len, VD_MENU_FILL_MAX);
  gsize said = MIN (chain->out_len, VD_MENU_COPY_MAX);
  gsize sunk;

  switch (item->mode) {
  case DRAIN:
  case HOLD: break;
  case LOOPBACK:
    return copy_iov (chain->in, chain->n_in, chain->out, chain->n_out, said);
  case SOURCE_ZERO: return vd_iov_zero (chain->in, chain->n_in, 0, room);
  case SOURCE_RANDOM: return source_random (item, chain, room);
  case SOURCE_FILE: return source_file (item, chain, room);
  case SINK_NULL: count (&item->n_bytes, chain->out_len); break;
  case SINK_FILE:
    sunk = sink_file (item, chain, said);
    count (&item->n_bytes, sunk);
    count (&item->n_dropped, chain->out_len - sunk);
    break;
  }
  return 0;
}

void
vd_queue_menu_handle (VdQueueMenu *menu, VdQueue *queue, VdChain **chains,
                      guint n_chains)
{
  Item *item = &menu->items[vd_queue_index (queue)];

  for (guint i = 0; i < n_chains; i++) {
    gsize written = serve (item, chains[i]);

    count (&item->n_bytes, written);
    vd_chain_complete (chains[i], (guint32) written);
  }
  count (&item->n_chains, n_chains);
}

static guint64
peek (const _Atomic guint64 *counter)
{
  return atomic_load_explicit (counter, memory_order_relaxed);
}

void
vd_queue_menu_dump (const VdQueueMenu *menu, GString *text)
{
  for (guint i = 0; i < menu->n_items; i++) {
    const Item *item = &menu->items[i];

    g_string_append_printf (
        text,
        "queue %u: %s%s, %" G_GUINT64_FORMAT " chains, %" G_GUINT64_FORMAT
        " bytes, %" G_GUINT64_FORMAT " dropped\n",
        i, names[item->mode], item->path != NULL ? item->path : "",
        peek (&item->n_chains), peek (&item->n_bytes), peek (&item->n_dropped));
  }
}
