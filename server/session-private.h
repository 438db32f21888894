/* SPDX-License-Identifier: BSD-3-Clause
 *
 * session-private.h - the inside of a session, for session*.c only
 */
#pragma once

#include "protocol/connection.h"
#include "server/log.h"
#include "server/session.h"

/* One ring as the front-end describes it; the queue exists while it runs, that
 * is, from the moment when it is both started (KICK) and enabled until it is
 * stopped or its description changes. */
typedef struct {
  VdSession *session;
  guint index;
  guint32 size;
  guint64 desc, avail, used; /* uva */
  gboolean has_addr;
  gboolean dirty_ring; /* VHOST_VRING_F_LOG */
  guint32 base;
  gboolean started; /* KICK came; GET_VRING_BASE and resets end it */
  gboolean enabled;
  gboolean broken;     /* told the front-end; a new KICK starts it again */
  const char *refused; /* why the last start failed, or NULL */
  int kick_fd;
  gboolean inband_kick;          /* kick_fd is ours, and VRING_KICK writes it */
  guint call_source, err_source; /* watches of call and err, if they are ours */
  VdNotifier call, err;
  VdQueue *queue;         /* NULL: not running */
  VdWorker *worker;       /* made for the first queue, kept for the next; maybe
                           * another ring's, VdDevice.n_workers */
  VdQueueCommand command; /* at most one is under way */
  VdMiss miss;            /* what the queue, or its start, waits for */
  gboolean asked;         /* the front-end was asked for that, ... */
  gboolean answered;      /* ... and answered without an update */
} VdVring;

typedef struct VdTransfer VdTransfer;     /* session-state.c */
typedef struct VdShmRequest VdShmRequest; /* session-shmem.c */

/* What a handler did with a message. */
typedef enum {
  VD_DONE,    /* an ack is due if the front-end asked for one */
  VD_REPLIED, /* the reply went out */
  VD_PARKED,  /* session->finish() will be called when nothing is pending */
  VD_FAILED,  /* error is set */
} VdHandled;

/* Called when everything that a message waited for is done. */
typedef VdHandled (*VdFinish) (VdSession *session, GError **error);

struct VdSession {
  VdDevice *dev;
  VdConnection *connection;
  VdConnection *channel; /* the back-end channel, or NULL */
  VdSessionClosed closed;
  gpointer user_data;

  guint64 features, protocol_features; /* acked */
  guint64 status;                      /* as the front-end last set it */
  VdMap *map;
  VdDirty *dirty;       /* of SET_LOG_BASE; used while LOG_ALL is acked */
  VdInflight *inflight; /* of SET_INFLIGHT_FD */
  VdVring *vrings;
  guint n_vrings;
  gboolean device_started; /* ops->start() since the rings were all stopped */
  gboolean useful;         /* a message came */

  /* A parked message; at most one. */
  VdMessage message;
  guint n_pending; /* commands and device answers under way */
  VdFinish finish; /* NULL: nothing is parked */
  VdMap *next_map; /* what the pending MAP commands bring */
  int old_fd;      /* closed when the pending commands are done */

  int uffd;                    /* of POSTCOPY_ADVISE; -1: none */
  gboolean postcopy_listening; /* new memory raises faults there */
  gboolean postcopy_unacked; /* map is not used before the front-end says so */
  guint postcopy_hangup;     /* while listening: the connection's end */

  VdIotlb *iotlb; /* NULL: ACCESS_PLATFORM was never acked */
  VdVring *asked; /* for whose miss the front-end has to answer, or NULL */
  guint ask_from; /* whose turn it is to ask */

  VdTransfer *transfer; /* of the device's state; NULL: none */

  gboolean shmem_asked; /* GET_SHMEM_CONFIG came */
  GQueue shm_requests;  /* VdShmRequest that the front-end has to answer */

  gboolean closing, ended;
  guint input, output; /* GLib sources; 0: none */
  guint channel_input, channel_output;
  gboolean change_pending; /* config changed since the last message */
  gboolean change_unacked; /* a CONFIG_CHANGE waits for its reply */
  guint change_source;     /* coalesces changes of one turn */
  VdLogLimit log;
  guint64 n_messages, n_refused, n_broken;
};

#define VD_SESSION_ERROR (vd_session_error_quark ())
GQuark vd_session_error_quark (void);
typedef enum {
  VD_SESSION_ERROR_REFUSED, /* nack if asked for, else close */
  VD_SESSION_ERROR_KEEP,    /* nack if asked for, and go on */
} VdSessionError;

/* session.c */
VdHandled vd_session_reply (VdSession *session, const void *payload, gsize size,
                            GError **error);
VdHandled vd_session_reply_fd (VdSession *session, const void *payload,
                               gsize size, int fd, GError **error);
/* Parks the message: @finish is called at once if nothing is pending. */
VdHandled vd_session_park (VdSession *session, VdFinish finish, GError **error);
/* One thing more is pending, which no message began: none is read until it is
 * done. */
void vd_session_pend (VdSession *session);
/* One pending thing is done. */
void vd_session_unpend (VdSession *session);

/* session-vring.c */
void vd_session_vrings_init (VdSession *session);
void vd_session_vrings_clear (VdSession *session);
VdHandled vd_session_vring_message (VdSession *session, GError **error);
VdHandled vd_session_get_vring_base (VdSession *session, GError **error);
VdHandled vd_session_reset_device (VdSession *session, GError **error);
VdHandled vd_session_enable_all (VdSession *session, GError **error);

/* session-queue.c.  What these functions begin, n_pending counts until it is
 * done. */
/* Makes the queue if the ring is started, enabled and described. */
gboolean vd_vring_start (VdVring *vring, GError **error);
/* After vd_vring_start(), when nothing is pending any more. */
gboolean vd_vring_check_started (const VdVring *vring, GError **error);
/* Stops its queue, if there is one. */
void vd_vring_stop (VdVring *vring);
/* Posts the ring's command, whose other members are set. */
void vd_vring_post (VdVring *vring, VdQueueCommandType type,
                    void (*done) (VdQueueCommand *command, int result));
/* The done() of commands after which nothing is to be done. */
void vd_vring_command_done (VdQueueCommand *command, int result);
void vd_vring_post_memory (VdVring *vring, VdMap *map);
void vd_session_stop_all (VdSession *session);
gboolean vd_session_any_running (const VdSession *session);
/* Posts @map and the dirty log, if it is on, to every running queue. */
void vd_session_post_memory (VdSession *session, VdMap *map);
/* The log that queues use now: NULL unless LOG_ALL is acked. */
VdDirty *vd_session_dirty (const VdSession *session);
gboolean
vd_session_rings_fit (VdSession *session, const VdMap *map, GError **error);

/* Ends the wait of a running queue. */
void vd_session_post_retry (VdVring *vring, gboolean granted);
/* Starts a ring that had no translation. */
void vd_session_retry_start (VdVring *vring);
/* Tells all running queues that these iova have no translation any more. */
void
vd_session_post_invalidate (VdSession *session, guint64 first, guint64 last);

/* session-iotlb.c */
VdHandled vd_session_iotlb_message (VdSession *session, GError **error);
/* The translations of a new queue; NULL: its addresses are the guest's. */
VdIotlb *vd_session_iotlb (const VdSession *session);
/* Features were acked. */
void vd_session_iotlb_features (VdSession *session);
/* A ring waits for a translation. */
void vd_session_miss (VdVring *vring, const VdMiss *miss);
/* It does not any more. */
void vd_session_iotlb_forget (VdVring *vring);
/* There is a channel: asks for what rings wait for. */
void vd_session_iotlb_ask (VdSession *session);
void vd_session_iotlb_channel_lost (VdSession *session);
/* Takes a message of the channel.  Returns: whether it answered a miss. */
gboolean vd_session_iotlb_answer (VdSession *session, const VdMessage *message);
/* At the end of a turn: believes refusals, if no update is on its way. */
void vd_session_iotlb_settle (VdSession *session);

/* session-memory.c */
VdHandled vd_session_set_mem_table (VdSession *session, GError **error);
VdHandled vd_session_add_mem_reg (VdSession *session, GError **error);
VdHandled vd_session_rem_mem_reg (VdSession *session, GError **error);
VdHandled vd_session_set_log_base (VdSession *session, GError **error);

/* session-postcopy.c */
VdHandled vd_session_postcopy_advise (VdSession *session, GError **error);
VdHandled vd_session_postcopy_listen (VdSession *session, GError **error);
VdHandled vd_session_postcopy_end (VdSession *session, GError **error);
/* Answers SET_MEM_TABLE or ADD_MEM_REG while listening.
 * @map: (transfer full): with its regions */
VdHandled
vd_session_postcopy_share (VdSession *session, VdMap *map, GError **error);
/* The front-end knows where all of the map lies. */
VdHandled vd_session_postcopy_ack (VdSession *session, GError **error);
/* Ends it.  @lost: what has not come will not */
void vd_session_postcopy_stop (VdSession *session, gboolean lost);

/* session-inflight.c */
VdHandled vd_session_get_inflight (VdSession *session, GError **error);
VdHandled vd_session_set_inflight (VdSession *session, GError **error);

/* session-state.c */
VdHandled vd_session_set_state_fd (VdSession *session, GError **error);
VdHandled vd_session_check_state (VdSession *session, GError **error);
void vd_session_state_clear (VdSession *session);
/* Whether the device's state is read or changed just now: no ring may start. */
gboolean vd_session_state_busy (const VdSession *session);
/* The session is to end: nobody waits for a transfer any longer. */
void vd_session_state_abandon (VdSession *session);

/* session-inband.c */
gboolean vd_session_is_inband (const VdSession *session);
gboolean vd_session_check_inband (guint64 protocol_features, GError **error);
/* Returns: (transfer full): a descriptor to stand behind messages, or -1. */
int vd_session_inband_fd (void);
VdHandled vd_session_kick (VdSession *session, VdVring *vring, GError **error);
/* Returns: a source that makes messages of what is written to @fd. */
guint vd_session_inband_watch (VdVring *vring, int fd, gboolean call);

/* session-config.c */
VdHandled vd_session_get_config (VdSession *session, GError **error);
VdHandled vd_session_set_config (VdSession *session, GError **error);
VdHandled vd_session_set_channel (VdSession *session, GError **error);
void vd_session_channel_clear (VdSession *session);
/* Takes the answers that came before the message which is handled now. */
void vd_session_channel_catch_up (VdSession *session);
/* Sends a message without an answer; if that fails the channel is closed. */
void vd_session_channel_send (VdSession *session, guint32 request,
                              const void *payload, gsize size);
/* The same with a descriptor, unless it is -1.
 * @flags: besides the version: VD_FLAG_NEED_REPLY or 0 */
void
vd_session_channel_send_fd (VdSession *session, guint32 request, guint32 flags,
                            const void *payload, gsize size, int fd);

/* session-shmem.c */
VdHandled vd_session_get_shmem_config (VdSession *session, GError **error);
/* There is a back-end channel. */
void vd_session_shmem_ready (VdSession *session);
/* Takes a message of the channel.  Returns: whether it was an answer to SHMEM_MAP
 * or SHMEM_UNMAP. */
gboolean vd_session_shmem_answer (VdSession *session, const VdMessage *message);
/* There is no channel any more: nobody answers. */
void vd_session_shmem_clear (VdSession *session);
/* For VdServices. */
int vd_session_shm_map (VdDevice *dev, const VdShmMapping *mapping,
                        VdShmDone done, gpointer data);
int vd_session_shm_unmap (VdDevice *dev, const VdShmMapping *mapping,
                          VdShmDone done, gpointer data);
gboolean vd_session_shm_answers (VdDevice *dev);
