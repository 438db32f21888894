/* SPDX-License-Identifier: BSD-3-Clause
 *
 * device.h - the one interface between the server and a virtio device
 *
 * The server owns sockets, guest memory and rings.  A device says what it is
 * (features, queues, config space) and turns chains into completions.
 * To add one: a folder, a line in devices/registry.c, an entry in meson.build
 * (docs/adding-a-device.md).
 *
 * Threads: CONTROL is the server's main context, which nothing may block;
 * QUEUE is the one thread that runs a started queue; several queues of one
 * device run at the same time.  POOL is a thread of the device's pool.
 * Errors: an op with a GError sets it and returns FALSE or NULL; the session
 * answers the front-end and logs, once.  Bytes from a guest or a front-end are
 * never a reason to abort: other devices live in this process.
 */
#pragma once

#include <glib.h>
#include <stdatomic.h>

#include "devices/config-space.h"
#include "devices/options.h"
#include "devices/syscall.h"
#include "vring/queue.h"

typedef struct VdDevice VdDevice;
typedef struct VdDeviceOps VdDeviceOps;

#define VD_SHM_REGIONS 256 /* ids of a device's shared memory regions */

/* A part of a shared memory region (virtio 1.3, 2.10) and what it shows. */
typedef struct {
  guint8 id;         /* of the region */
  gboolean writable; /* by the driver */
  int fd;            /* borrowed; the file that is shown */
  guint64 fd_offset; /* bytes into it */
  guint64 offset;    /* bytes into the region */
  guint64 len;       /* bytes */
} VdShmMapping;

/* The front-end answered.  @result: 0; -EIO: it refused; -ECANCELED: it left
 * without an answer.  CONTROL. */
typedef void (*VdShmDone) (VdDevice *dev, gpointer data, int result);

/* What a session offers to its device; set before start(), NULL without a
 * front-end.  CONTROL. */
typedef struct {
  /* Tells the driver that config space changed; calls are coalesced. */
  void (*config_changed) (VdDevice *dev);
  /* Ends an op of the device that returned VD_LATER. */
  void (*resume) (VdDevice *dev);
  /* Shows a part of a file in a shared memory region, or takes away what was
   * shown by exactly that id, offset and len (fd is not used).  Front-ends close
   * the back-end channel if asked to map over a mapping, or to unmap what is not
   * mapped, and forget all mappings when the device is reset or the connection
   * ends.
   * @done: (nullable): called once unless an error is returned, maybe before
   *   this returns
   * Returns: 0; -ENOTCONN: the front-end has no means to; -EINVAL: not within
   *   the region; -EBUSY: it owes too many answers. */
  int (*shm_map) (VdDevice *dev, const VdShmMapping *mapping, VdShmDone done,
                  gpointer data);
  int (*shm_unmap) (VdDevice *dev, const VdShmMapping *mapping, VdShmDone done,
                    gpointer data);
  /* Whether done() tells what the front-end did; else it is called as soon as
   * the front-end was asked. */
  gboolean (*shm_answers) (VdDevice *dev);
} VdServices;

typedef enum {
  VD_NOW,   /* done */
  VD_LATER, /* the answer waits until the device calls services->resume() */
} VdWhen;

struct VdDeviceOps {
  const char *kind;  /* the KIND of "--device KIND,socket=PATH,..." */
  const char *help;  /* one line for --list-devices */
  const VdKey *keys; /* beyond vd_common_keys */

  /* What QUEUE and POOL ask of the kernel for this kind, beyond what every queue
   * takes (server/seccomp-calls.c); any other call fails there.  Ends with a NULL
   * name; NULL: nothing. */
  const VdSyscall *calls;

  /* Queue ops; user_data of each is the VdDevice. */
  VdQueueOps queue;

  /* Checks what the key tables cannot say, without opening anything, so that
   * --check works beside a running daemon.  May be NULL.  CONTROL. */
  gboolean (*check) (VdOptions *options, GError **error);

  /* Opens what is behind the device, before its socket exists, so that every
   * mistake of the user is seen at start-up.  May block.  CONTROL; or, if
   * opens_apart is set, any thread: it then adds no source to CONTROL's main
   * context.
   * @options: checked against keys; the device keeps a reference if it wants
   * Returns: (transfer full): the device, or NULL with @error set */
  VdDevice *(*open) (VdOptions *options, GError **error);

  /* open() may have to wait for somebody else, so that a reload calls it on a
   * thread of its own. */
  gboolean opens_apart;

  /* May be NULL: the device is about to be served, and @dev->control is set.
   * CONTROL. */
  void (*opened) (VdDevice *dev);

  /* Frees @dev, whose queues have all stopped; its config space is freed after
   * this op.  CONTROL. */
  void (*close) (VdDevice *dev);

  /* All below may be NULL.  CONTROL. */

  /* Takes new options in which only VD_KEY_LIVE keys differ, with or without a
   * running driver.  Also called when nothing differs: files named by options
   * may have changed. */
  gboolean (*reload) (VdDevice *dev, VdOptions *options, GError **error);

  /* A driver acked @features; before the first queue of its life starts. */
  gboolean (*start) (VdDevice *dev, guint64 features, GError **error);

  /* All queues have stopped; start() comes before the next one runs.  The stop is
   * answered when this is done. */
  VdWhen (*stopped) (VdDevice *dev);

  /* The driver's life ended (RESET_DEVICE, the connection closed): all queues
   * have stopped; forget what belongs to it. */
  void (*reset) (VdDevice *dev);

  /* The driver changed config bytes in this span, which are stored already. */
  VdWhen (*written) (VdDevice *dev, guint offset, guint len);

  /* The front-end knows the device's shared memory regions, and services can
   * map.  Again when it opens another back-end channel: what it showed stays; and
   * after reset(). */
  void (*shm_ready) (VdDevice *dev);

  /* Migration, with all queues stopped.  save() appends what the driver's life
   * needs beyond config space, which the server saves; a kind without save()
   * offers no DEVICE_STATE.  load() takes config space, as long as ours, and
   * what save() gave, both from a stream whose checksum was right but whose
   * bytes are not trusted; it takes all or refuses all. */
  gboolean (*save) (VdDevice *dev, GByteArray *state, GError **error);
  gboolean (*load) (VdDevice *dev, const guint8 *config, const guint8 *state,
                    gsize len, GError **error);
  /* These two may wait or take long: they are called on a thread of their own,
   * not CONTROL, where only reload() and dump() may be called meanwhile.  They
   * end soon, with an error, when VdDevice.abandoned is set. */
  gboolean slow_state;

  /* Appends one line for each counter or setting, "name: value\n", to the
   * state dump of SIGUSR1. */
  void (*dump) (VdDevice *dev, GString *text);
};

/* First member of every device's own struct.  Set by open(); constant after
 * it unless said otherwise. */
struct VdDevice {
  const VdDeviceOps *ops; /* static */
  VdOptions *options;     /* current, checked; owned; set by the server */
  const char *id;         /* name in logs, owned by options' owner */
  guint64 features;       /* offered device bits (0-23, 50-127 as given); the
                           * server adds ring and transport bits */
  guint16 virtio_id;      /* VIRTIO_ID_* */
  guint16 n_queues;       /* rings the device serves, 0 to 1024 */
  guint max_threads;      /* of its pool; 0: the default */
  guint n_workers;        /* threads that its queues share; 0: one for each */
  guint sqpoll_ms;        /* vd_worker_new_sqpoll(); 0: not wanted */
  gboolean iopoll;        /* vd_worker_new_iopoll(); not with sqpoll_ms */
  gboolean resubmits;     /* a request may be done twice: in-flight tracking is
                       * offered, and a successor submits it again */
  gboolean offer_config;  /* whether GET_CONFIG is offered */
  gboolean restores_config; /* SET_CONFIG with flags 1 writes all bytes while no
                             * ring is started; load() is then called with them
                             * and no state */
  const guint64 *shm_sizes; /* VD_SHM_REGIONS: bytes of each shared memory
                             * region by its id, 0: none; NULL: none at all */
  VdConfig config;          /* CONTROL */

  /* Set by the server. */
  const VdServices *services; /* NULL without a front-end */
  VdMailbox *control;         /* for mail to CONTROL from any thread */
  VdPool *pool;               /* for offloaded work */
  atomic_bool abandoned;      /* nobody waits for save() or load() any more */
  gpointer session;           /* the server's own */
};

/* Keys that every kind has: socket, socket-mode, socket-group, queues,
 * queue-size-max. */
extern const VdKey vd_common_keys[];

/* All kinds, NULL-ended. */
extern const VdDeviceOps *const vd_registry[];

/* CONTROL: checks @options against vd_common_keys and ops->keys, where the
 * kind's own table wins, then by ops->check(). */
gboolean
vd_device_check (const VdDeviceOps *ops, VdOptions *options, GError **error);

/* CONTROL, or any thread if ops->opens_apart: opens a device of kind @ops after
 * vd_device_check().
 * @id: (transfer none): outlives the device
 * @options: (transfer none): checked against vd_common_keys and ops->keys */
VdDevice *vd_device_open (const VdDeviceOps *ops, const char *id,
                          VdOptions *options, GError **error);

/* CONTROL: @dev, just opened, is about to be served.
 * @control: (transfer none): where its threads post to */
void vd_device_serve (VdDevice *dev, VdMailbox *control);

/* CONTROL: frees @dev, its pool and its config space; NULL is fine. */
void vd_device_close (VdDevice *dev);

/* CONTROL: tells the driver, if there is one, that config space changed. */
void vd_device_config_changed (VdDevice *dev);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdDevice, vd_device_close)
