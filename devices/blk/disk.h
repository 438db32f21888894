/* SPDX-License-Identifier: BSD-3-Clause
 *
 * disk.h - the inside of a virtio-blk device, shared by its files
 *
 * blk.c is the device as the server sees it, shape.c what the driver sees of it,
 * cache.c what makes writes durable, io.c the life of requests, zero.c their
 * DISCARD, WRITE_ZEROES and SECURE_ERASE, bounce.c their detour where O_DIRECT wants aligned
 * buffers, hold.c what waits instead of failing, throttle.c the rate limits,
 * fixed.c registered guest memory, mapped.c reads and writes without system calls, resize.c another size, stats.c what was counted.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "devices/blk/flush.h"
#include "devices/blk/hold.h"
#include "devices/blk/image.h"
#include "devices/blk/lifetime.h"
#include "devices/blk/mapped.h"
#include "devices/blk/nbd.h"
#include "devices/blk/policy.h"
#include "devices/blk/request.h"
#include "devices/blk/throttle.h"
#include "devices/blk/watch.h"
#include "devices/device.h"

/* What SECURE_ERASE does. */
typedef enum {
  VD_ERASE_AUTO, /* what the device does; not offered if it does nothing */
  VD_ERASE_OVERWRITE,
  VD_ERASE_OFF,
} VdEraseMode;

typedef enum {
  VD_CACHE_WRITEBACK,
  VD_CACHE_WRITETHROUGH,
  VD_CACHE_NONE,   /* write-back with O_DIRECT */
  VD_CACHE_UNSAFE, /* flushes do nothing */
} VdCacheMode;

/* What requests are counted as. */
typedef enum {
  VD_BLK_READS,
  VD_BLK_WRITES,
  VD_BLK_FLUSHES,
  VD_BLK_DISCARDS,
  VD_BLK_ZEROES,
  VD_BLK_ERASES,
  VD_BLK_IDS,    /* and lifetimes */
  VD_BLK_OTHERS, /* of unknown type, or without a whole header */
  VD_BLK_N_COUNTS
} VdBlkCount;

/* Since the device was opened; written by QUEUE, read by any. */
typedef struct {
  atomic_uint_fast64_t requests[VD_BLK_N_COUNTS];
  atomic_uint_fast64_t bytes[VD_BLK_N_COUNTS];
  atomic_uint_fast64_t errors[VD_BLK_N_COUNTS]; /* answered IOERR or UNSUPP */
  atomic_uint_fast64_t calls[VD_N_ROUTES];      /* on the image, by route */
  atomic_uint_fast64_t fixed;     /* calls, of those by io_uring */
  atomic_uint_fast64_t bounced;   /* requests */
  atomic_uint_fast64_t throttled; /* times that a limit was met */
} VdBlkStats;

/* QUEUE: adds to a counter that only this thread writes. */
static inline void
vd_blk_add (atomic_uint_fast64_t *counter, guint64 n)
{
  atomic_store_explicit (
      counter, atomic_load_explicit (counter, memory_order_relaxed) + n,
      memory_order_relaxed);
}

/* The aligned buffer of a queue, which one request uses at a time. */
typedef struct {
  guint8 *buffer; /* NULL unless the image is open with O_DIRECT */
  struct iovec iov;
  VdBlkRequest *user;  /* has the buffer now */
  VdBlkRequest *first; /* those that wait for it, by next_bounced */
  VdBlkRequest **last;
  bool turning; /* vd_bounce_turn() is on the stack */
} VdBounce;

/* What a queue needs, in the device for its whole life; QUEUE while it runs. */
struct VdBlkQueue {
  VdBlk *blk;
  VdQueue *queue;
  VdWorker *worker;
  VdPolicy policy;
  VdMappedView mapped;
  VdNbdPort nbd;
  VdBounce bounce;
  VdHold hold;
  guint64 batch_bytes; /* of reads and writes that began in this batch */
  VdBlkStats stats;
} __attribute__ ((aligned (64)));

/* A request, in its chain's slot. */
struct VdBlkRequest {
  VdTask task; /* the call on the image that is made now */

  /* The call returned @res: prepares the next one in task.call and returns
   * TRUE, or answers the request and returns FALSE. */
  bool (*next) (VdBlkRequest *req, int res);

  VdBlkQueue *queue;
  VdChain *chain;
  guint64 done;      /* bytes of data moved so far */
  bool background;   /* no call shall be made inline any more */
  bool durable;      /* its writes carry RWF_DSYNC */
  guint32 range;     /* DISCARD, WRITE_ZEROES: index of the current range */
  guint64 range_pos; /* bytes of it that are done */
  guint zero_method; /* for the current range: zero.c */
  struct iovec zero_iov;
  VdBlkRequest *next_bounced;
  bool held, held_for_room; /* hold.c */
  guint n_drains;           /* of the queue, when the request began */
  VdBlkRequest *next_held;
  VdFlush flush;
  VdBlkCommand cmd;
};

struct VdBlk {
  VdDevice parent;

  /* Constant after open(). */
  VdImage *image;
  VdEngine engine;
  VdCacheMode cache;
  gboolean lock_at_start; /* the image is locked while queues run */
  gboolean register_memory;
  gboolean maps;    /* if the image allows it */
  gboolean discard; /* offered */
  gboolean secure_erase;
  gboolean overwrite; /* for SECURE_ERASE */
  gboolean lifetime;  /* offered */
  char serial[VIRTIO_BLK_ID_BYTES];
  VdBlkQueue *queues; /* parent.n_queues */

  /* Any thread. */
  atomic_bool write_through; /* the effective mode: cache.c */
  _Atomic guint64 wear;      /* begins with the bytes of a VdLifetime */
  atomic_bool no_discard, no_punch, no_zero_range; /* refused by the image */
  atomic_bool stop_on_error, stop_on_enospc;
  atomic_uint n_resumes; /* hold.c */
  VdFlusher flusher;
  VdThrottle throttle;

  /* CONTROL. */
  guint64 acked;
  GSList *toggles;  /* VdToggle under way: cache.c */
  VdWatch *watch;   /* NULL: remote */
  VdMapped *mapped; /* NULL: it is not; made before queues start */
  bool size_lost;   /* told already */
  bool told_held;   /* that requests wait */

  /* fixed.c. */
  atomic_int fixed_error; /* an errno, in this driver's life */
  VdMail fixed_mail;
};

static inline bool
vd_blk_write_through (VdBlk *blk)
{
  return atomic_load (&blk->write_through);
}

/* shape.c, CONTROL: fills in features, config space and serial number of a
 * device whose image is open. */
void vd_blk_shape (VdBlk *blk, VdOptions *options);

/* resize.c, CONTROL. */

/* Takes the size of @options, or of the image; tells the driver of another.
 * Returns: FALSE with @error set; the size is as it was */
gboolean vd_blk_reload_size (VdBlk *blk, VdOptions *options, GError **error);
/* Tells the driver if the image has another size. */
void vd_blk_look_at_size (VdBlk *blk);
/* From now on another size of the image is told to the driver. */
void vd_blk_watch_size (VdBlk *blk);

/* stats.c, CONTROL: VdDeviceOps.dump. */
void vd_blk_dump (VdDevice *dev, GString *text);

/* io.c, QUEUE. */

/* Serves @chain: completes it, or has begun to. */
void vd_blk_serve (VdBlkQueue *queue, VdChain *chain);
/* Makes calls until one is under way or the request is answered. */
void vd_blk_pump (VdBlkRequest *req);
/* Answers with @status, VIRTIO_BLK_S_*. */
void vd_blk_finish (VdBlkRequest *req, guint8 status);
/* Answers when all that was written before is durable. */
void vd_blk_flush_and_finish (VdBlkRequest *req);
/* Answers OK once what was written is as durable as the cache mode promises. */
void vd_blk_finish_write (VdBlkRequest *req);

/* zero.c, QUEUE. */
void vd_blk_start_discard (VdBlkRequest *req);
void vd_blk_start_zeroes (VdBlkRequest *req);
void vd_blk_start_erase (VdBlkRequest *req);

/* bounce.c, QUEUE. */

/* Maps the buffer if the image needs one.  Returns: 0 or -errno. */
int vd_bounce_open (VdBounce *bounce, const VdImage *image);
void vd_bounce_close (VdBounce *bounce);
/* Whether O_DIRECT would refuse the request's buffers as they are. */
bool vd_bounce_needed (const VdBlkRequest *req);
/* Moves the data of a read or write, whose task.call is ready, through the
 * buffer, at once or when those before it are done. */
void vd_bounce_start (VdBlkRequest *req);
/* Leaves the request to the next back-end, and the buffer to the next request. */
void vd_bounce_leave (VdBlkRequest *req);

/* fixed.c, QUEUE: has guest memory registered with the queue's io_uring if the
 * user wants that. */
void vd_blk_register_memory (VdBlkQueue *queue);

/* cache.c, CONTROL. */

/* A driver acked @features. */
void vd_cache_start (VdBlk *blk, guint64 features);
/* The driver may have changed the wce byte. */
VdWhen vd_cache_written (VdBlk *blk, guint offset, guint len);
/* All queues have stopped: makes what they wrote durable, whatever the mode, and
 * calls @then, now or before services->resume(). */
VdWhen vd_cache_flush (VdBlk *blk, void (*then) (VdBlk *blk));
/* The driver's life ended: nobody waits for a toggle any more. */
void vd_cache_reset (VdBlk *blk);
/* The device ends; its pool has ended. */
void vd_cache_close (VdBlk *blk);
