/* SPDX-License-Identifier: BSD-3-Clause
 *
 * dax.c - see dax.h
 *
 * A job is QUEUE's until it is posted, then CONTROL's.  Its request is answered
 * by who takes it first: CONTROL when the job is done, which then posts the job
 * back, or QUEUE when it stops.  On CONTROL jobs are served in the order of
 * coming.  A piece belongs to one job at a time, from its first question to its
 * last answer, so that what a question builds on is known.
 */
#include "devices/fs/dax.h"

#include <errno.h>

#include "devices/fs/export.h"
#include "devices/fs/request.h"
#include "vring/fd.h"

#define REGION 0 /* VIRTIO_FS_SHMCAP_ID_CACHE */

/* Questions on their way: the session's connection keeps that many descriptors
 * for a front-end that does not read. */
#define ASKED_MAX 16

/* Jobs that wait for others.  Front-ends that are slow to answer must not make
 * guests fill our memory. */
#define JOBS_MAX 1024

struct VdFsDaxPiece {
  VdFsDaxJob *job; /* that has asked for it */
  guint8 n_asked;  /* questions */
  gboolean mapped; /* as of the last answer */
};

struct VdFsDaxJob {
  VdMail mail;    /* to CONTROL and back */
  VdFsJob burial; /* of one that has a file */
  VdFsDax *dax;

  /* QUEUE */
  VdFsRequest *req;         /* NULL: nobody waits for this job */
  VdFsDaxJob *next, **link; /* of those that wait on its queue */
  atomic_bool taken;        /* the request; any thread */

  /* CONTROL */
  int fd; /* -1: unmap */
  gboolean writable;
  guint64 offset; /* in the file, of the next piece */
  guint range;    /* the one that is worked on, n_ranges: none is left */
  guint32 done;   /* pieces of it */
  guint n_asked;
  int result;

  guint n_ranges;
  VdFsDaxRange ranges[];
};

/* Life. */

void
vd_fs_dax_init (VdFsDax *dax, VdDevice *dev, guint64 len)
{
  *dax = (VdFsDax){ .dev = dev, .jobs = G_QUEUE_INIT };
  if (len == 0)
    return;
  dax->n_pieces = (guint32) (len >> VD_FS_DAX_SHIFT);
  dax->pieces = g_new0 (VdFsDaxPiece, dax->n_pieces);
  dax->sizes = g_new0 (guint64, VD_SHM_REGIONS);
  dax->sizes[REGION] = len;
  dev->shm_sizes = dax->sizes;
}

void
vd_fs_dax_clear (VdFsDax *dax)
{
  g_clear_pointer (&dax->pieces, g_free);
  g_clear_pointer (&dax->sizes, g_free);
}

void
vd_fs_dax_ready (VdFsDax *dax)
{
  /* Without answers the guest would be told of what is not there yet. */
  atomic_store_explicit (&dax->ready,
                         dax->dev->services->shm_answers (dax->dev),
                         memory_order_release);
}

guint32
vd_fs_dax_n_mapped (const VdFsDax *dax)
{
  return dax->n_mapped + dax->n_asked;
}

int
vd_fs_dax_range (const VdFsDax *dax, guint64 offset, guint64 len,
                 VdFsDaxRange *ret)
{
  const guint64 end = (guint64) dax->n_pieces << VD_FS_DAX_SHIFT;

  if (((offset | len) & (VD_FS_DAX_PIECE - 1)) != 0 || len == 0 ||
      offset > end || len > end - offset)
    return -EINVAL;
  *ret = (VdFsDaxRange){
    .first = (guint32) (offset >> VD_FS_DAX_SHIFT),
    .n = (guint32) (len >> VD_FS_DAX_SHIFT),
  };
  return 0;
}

/* Jobs. */

static void
drop_file (VdFsDaxJob *job)
{
  if (job->fd < 0)
    return;
  vd_clear_fd (&job->fd);
  vd_fs_budget_give (&((VdFs *) job->dax->dev)->budget);
}

static void
run_bury (VdFsJob *burial)
{
  VdFsDaxJob *job = VD_CONTAINER (burial, VdFsDaxJob, burial);

  drop_file (job);
  g_free (job);
}

/* Closing may take long; CONTROL, least of all, waits for it. */
static void
job_free (VdFsDaxJob *job)
{
  job->burial.run = run_bury;
  if (job->fd >= 0)
    vd_fs_reaper_push (&((VdFs *) job->dax->dev)->reaper, &job->burial);
  else
    g_free (job);
}

static VdFsDaxJob *
job_new (VdFsDax *dax, const VdFsDaxRange *ranges, guint n_ranges)
{
  VdFsDaxJob *job =
      g_try_malloc0 (sizeof *job + n_ranges * sizeof job->ranges[0]);

  if (job == NULL)
    return NULL;
  job->dax = dax;
  job->fd = -1;
  job->n_ranges = n_ranges;
  for (guint i = 0; i < n_ranges; i++)
    job->ranges[i] = ranges[i];
  return job;
}

/* Returns: whether the caller has to answer the request, if there is one. */
static gboolean
job_take (VdFsDaxJob *job)
{
  return !atomic_exchange_explicit (&job->taken, TRUE, memory_order_acq_rel);
}

/* Takes what stands between @link and @next out of a queue's list. */
static void
unlink_job (VdFsDaxJob **link, VdFsDaxJob *next)
{
  *link = next;
  if (next != NULL)
    next->link = link;
}

/* QUEUE */
static void
run_answer (VdMail *mail)
{
  VdFsDaxJob *job = VD_CONTAINER (mail, VdFsDaxJob, mail);

  unlink_job (job->link, job->next);
  if (!vd_fs_may_hang ((VdFs *) job->dax->dev)) /* as RELEASE does */
    drop_file (job);
  if (job->result < 0)
    vd_fs_reply_error (job->req, job->result);
  else
    vd_fs_reply (job->req, NULL, 0);
  job_free (job);
}

/* CONTROL: everything was asked, and answered. */
static void
job_end (VdFsDaxJob *job)
{
  if (job->req == NULL || !job_take (job)) {
    job_free (job);
    return;
  }
  job->mail.run = run_answer;
  vd_worker_post (job->req->queue->worker, &job->mail);
}

/* CONTROL: nothing more is asked. */
static void
job_stop (VdFsDaxJob *job, int result)
{
  if (job->result == 0)
    job->result = result;
  job->range = job->n_ranges;
}

/* Whether nothing is left to ask, or nobody wants to know it. */
static gboolean
job_is_over (const VdFsDaxJob *job)
{
  return job->range == job->n_ranges ||
         (job->req != NULL &&
          atomic_load_explicit (&job->taken, memory_order_acquire));
}

/* Asking.  CONTROL. */

static void pump (VdFsDax *dax);

static void
set_mapped (VdFsDax *dax, VdFsDaxPiece *piece, gboolean mapped)
{
  dax->n_mapped += (guint) mapped - (guint) piece->mapped;
  piece->mapped = mapped;
}

static void
count_answer (VdFsDax *dax, VdFsDaxPiece *piece)
{
  VdFsDaxJob *job = piece->job;

  piece->n_asked--;
  dax->n_asked--;
  if (--job->n_asked == 0 && job->range == job->n_ranges &&
      g_queue_peek_head (&dax->jobs) != job)
    job_end (job);
  pump (dax);
}

static void
on_mapped (VdDevice *dev, gpointer data, int result)
{
  VdFsDax *dax = &((VdFs *) dev)->dax;
  VdFsDaxPiece *piece = data;

  if (result < 0)
    job_stop (piece->job, -EIO);
  else
    set_mapped (dax, piece, TRUE);
  count_answer (dax, piece);
}

/* A mapping that cannot be taken away was none: the front-end was reset.  If it
 * is one after all, nothing can be mapped over it, and that is told. */
static void
on_unmapped (VdDevice *dev, gpointer data, int result)
{
  VdFsDax *dax = &((VdFs *) dev)->dax;

  set_mapped (dax, data, FALSE);
  count_answer (dax, data);
}

/* Returns: FALSE if the front-end cannot be asked. */
static gboolean
ask (VdFsDax *dax, VdFsDaxJob *job, guint32 index, gboolean map)
{
  const VdServices *services = dax->dev->services;
  VdFsDaxPiece *piece = &dax->pieces[index];
  const VdShmMapping mapping = {
    .id = REGION,
    .writable = job->writable,
    .fd = job->fd,
    .fd_offset = job->offset,
    .offset = (guint64) index << VD_FS_DAX_SHIFT,
    .len = VD_FS_DAX_PIECE,
  };
  int r;

  piece->job = job;
  piece->n_asked++;
  job->n_asked++;
  dax->n_asked++;
  r = map ? services->shm_map (dax->dev, &mapping, on_mapped, piece)
          : services->shm_unmap (dax->dev, &mapping, on_unmapped, piece);
  if (r == 0)
    return TRUE;
  piece->n_asked--;
  job->n_asked--;
  dax->n_asked--;
  job_stop (job, -EIO);
  return FALSE;
}

/* Asks for the job's next piece.  Replacing is two questions in one go, so that
 * the guest misses the piece for as short as can be.
 * Returns: FALSE if that has to wait for answers. */
static gboolean
ask_next (VdFsDax *dax, VdFsDaxJob *job)
{
  const VdFsDaxRange *range = &job->ranges[job->range];
  guint32 index = range->first + job->done;
  VdFsDaxPiece *piece = &dax->pieces[index];

  if (piece->n_asked > 0 || dax->n_asked + 2 > ASKED_MAX)
    return FALSE;
  if (piece->mapped && !ask (dax, job, index, FALSE))
    return TRUE;
  if (job->fd >= 0 && !ask (dax, job, index, TRUE))
    return TRUE;
  job->offset += VD_FS_DAX_PIECE;
  if (job->range < job->n_ranges && ++job->done == range->n) {
    job->range++;
    job->done = 0;
  }
  return TRUE;
}

/* Asks all that can be asked now. */
static void
pump (VdFsDax *dax)
{
  VdFsDaxJob *job;

  if (dax->asking) /* answers may come while we ask */
    return;
  dax->asking = TRUE;
  while ((job = g_queue_peek_head (&dax->jobs)) != NULL) {
    if (job_is_over (job)) {
      job->range = job->n_ranges;
      g_queue_pop_head (&dax->jobs);
      if (job->n_asked == 0)
        job_end (job);
    } else if (!ask_next (dax, job))
      break;
  }
  dax->asking = FALSE;
}

static void
run_job (VdMail *mail)
{
  VdFsDaxJob *job = VD_CONTAINER (mail, VdFsDaxJob, mail);
  VdFsDax *dax = job->dax;

  if (dax->jobs.length == JOBS_MAX || dax->dev->services == NULL) {
    job_stop (job, -EAGAIN);
    job_end (job);
    return;
  }
  g_queue_push_tail (&dax->jobs, job);
  pump (dax);
}

void
vd_fs_dax_reset (VdFsDax *dax)
{
  VdFsDaxJob *job;

  if (dax->dev->services == NULL)
    atomic_store_explicit (&dax->ready, FALSE, memory_order_release);
  while ((job = g_queue_pop_head (&dax->jobs)) != NULL) {
    job_stop (job, -EAGAIN);
    if (job->n_asked == 0)
      job_end (job);
  }
  for (guint32 i = 0; i < dax->n_pieces && dax->n_mapped > 0; i++)
    set_mapped (dax, &dax->pieces[i], FALSE);
}

/* QUEUE. */

static void
post (VdFsDaxJob *job)
{
  job->mail.run = run_job;
  vd_mailbox_post (job->dax->dev->control, &job->mail);
}

void
vd_fs_dax_end_session (VdFsDax *dax)
{
  const VdFsDaxRange all = { 0, dax->n_pieces };
  VdFsDaxJob *job = NULL;

  if (atomic_exchange_explicit (&dax->used, FALSE, memory_order_acq_rel))
    job = job_new (dax, &all, 1);
  if (job != NULL)
    post (job);
}

gboolean
vd_fs_dax_prepare (VdFsRequest *req, const VdFsDaxRange *ranges, guint n_ranges,
                   int fd, guint64 offset, gboolean writable)
{
  VdFs *fs = vd_fs_of (req);
  VdFsDaxJob *job = job_new (&fs->dax, ranges, n_ranges);

  if (job == NULL) {
    if (fd >= 0)
      vd_fs_budget_give (&fs->budget);
    vd_clear_fd (&fd);
    return FALSE;
  }
  job->req = req;
  job->fd = fd;
  job->offset = offset;
  job->writable = writable;
  req->dax = job;
  return TRUE;
}

void
vd_fs_dax_submit (VdFsRequest *req)
{
  VdFsQueue *queue = req->queue;
  VdFsDaxJob *job = req->dax;

  if (vd_chain_is_awaited (req->chain)) {
    job_free (job);
    vd_fs_reply_error (req, -EAGAIN);
    return;
  }
  req->state = VD_FS_DEFERRED;
  if (job->fd >= 0)
    atomic_store_explicit (&job->dax->used, TRUE, memory_order_release);
  job->next = queue->dax_jobs;
  job->link = &queue->dax_jobs;
  if (job->next != NULL)
    job->next->link = &job->next;
  queue->dax_jobs = job;
  post (job);
}

void
vd_fs_dax_drain (VdFsQueue *queue)
{
  for (VdFsDaxJob *job = queue->dax_jobs, *next; job != NULL; job = next) {
    VdFsDaxJob **link = job->link;
    VdFsRequest *req = job->req;

    next = job->next;
    if (!job_take (job)) /* its answer is on the way */
      continue;
    /* From here on CONTROL may free the job. */
    unlink_job (link, next);
    vd_fs_reply_error (req, -EAGAIN);
  }
}
