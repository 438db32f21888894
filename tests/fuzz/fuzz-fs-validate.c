/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz-fs-validate.c - FUSE messages of any form in buffers of any form
 *
 * A request goes the way of the daemon up to its dispatch: its header is copied
 * out of the buffers, the place of the reply is found, the message is gathered
 * and validated, and an answer is written.  Every buffer is an allocation of its
 * own, as is the message, so that a sanitizer sees each byte too much.
 */
#include <errno.h>

#include "devices/fs/request.h"
#include "tests/fuzz/fuzz.h"
#include "vring/iov.h"
#include "vring/queue-private.h"

#define BUFFERS_MAX 24

typedef struct {
  guint64 negotiated;
  guint8 n_out, n_in;           /* buffers */
  guint8 lens[BUFFERS_MAX * 2]; /* bytes of each, in units below */
  guint8 reply_len;             /* what the operation answers */
} Shape;

static struct {
  guint n; /* completions */
  guint32 written;
} done;

static void
push (VdQueue *queue, const VdChain *chain, guint32 written)
{
  done.n++;
  done.written = written;
}

/* Small buffers matter most; the upper values make long ones. */
static gsize
buffer_len (guint8 len)
{
  return len < 192 ? len : (gsize) (len - 191) * 512;
}

static guint
make_buffers (struct iovec *iov, guint n, const guint8 *lens)
{
  for (guint i = 0; i < n; i++) {
    iov[i].iov_len = MAX (buffer_len (lens[i]), 1);
    iov[i].iov_base = g_malloc0 (iov[i].iov_len);
  }
  return n;
}

/* Takes the buffers out of a list that the device may have cut. */
static void
free_buffers (void *const *buffers, guint n)
{
  for (guint i = 0; i < n; i++)
    g_free (buffers[i]);
}

static void
check_within (const VdFsMessage *message, const void *part, gsize len)
{
  const guint8 *at = part;

  g_assert_true (at >= message->bytes);
  g_assert_cmpuint ((gsize) (at - message->bytes), <=, message->len);
  g_assert_cmpuint (len, <=, message->len - (gsize) (at - message->bytes));
}

/* What an operation relies on. */
static void
check_valid (const VdFsMessage *message, guint32 len, guint64 room,
             guint64 negotiated)
{
  const VdFuseInHeader *in = (const void *) message->bytes;
  const VdFsOpcode *opcode = message->opcode;

  g_assert_true (opcode == vd_fs_opcode (in->opcode));
  g_assert_cmpuint (message->len, <=, len);
  g_assert_cmpuint (room, >=, opcode->reply_len);
  check_within (message, message->args,
                vd_fs_opcode_args_len (in->opcode, negotiated));
  check_within (message, message->rest, message->rest_len);
  if (in->opcode == VD_FUSE_REMOVEMAPPING)
    check_within (message, message->rest,
                  *(const guint32 *) message->args *
                      sizeof (VdFuseRemovemappingOne));
  for (guint i = 0; i < opcode->n_names; i++) {
    const char *name = message->names[i];
    gboolean is_path = (opcode->flags & VD_FS_OP_TARGET) != 0 && i == 1;

    check_within (message, name, strlen (name) + 1);
    g_assert_cmpuint (strlen (name), >, 0);
    if (!is_path && (opcode->flags & VD_FS_OP_ATTRIBUTE) == 0)
      g_assert_null (strchr (name, '/'));
    if (!is_path && (opcode->flags & (VD_FS_OP_ATTRIBUTE | VD_FS_OP_DOTS)) == 0)
      g_assert_true (strcmp (name, ".") != 0 && strcmp (name, "..") != 0);
  }
}

static int
validate (VdFsRequest *req, guint64 negotiated)
{
  guint32 len = req->in.len;
  g_autofree guint8 *exact = g_memdup2 (req->bench->message, len);
  VdFsMessage message;
  int r = vd_fs_validate (exact, len, req->room, negotiated, &message);

  g_assert_true (r == 0 || r == -ENOSYS || r == -EINVAL);
  if (r == 0)
    check_valid (&message, len, req->room, negotiated);
  return r;
}

/* Serves the request.  Returns: bytes of the answer that are due, without its
 * header. */
static gsize
serve (VdFsQueue *queue, VdChain *chain, const Shape *shape)
{
  static const guint8 answer[256];
  VdFsRequest *req = vd_fs_request_begin (queue, chain);
  gsize len = shape->reply_len;
  int r;

  if (req == NULL)
    return 0;
  g_assert_cmpuint (req->in.len, <=, chain->out_len);
  r = vd_fs_request_gather (req);
  if (r == 0)
    r = validate (req, shape->negotiated);
  if (r < 0) {
    vd_fs_reply_error (req, r);
    return 0;
  }
  if (len > req->room)
    len = 0; /* it becomes an error */
  vd_fs_reply_two (req, answer, shape->reply_len / 3, answer,
                   shape->reply_len - shape->reply_len / 3);
  return len;
}

static void
take_shape (FzInput *input, Shape *ret)
{
  fz_take (input, &ret->negotiated, sizeof ret->negotiated);
  ret->n_out = fz_take_u8 (input) % (BUFFERS_MAX + 1);
  ret->n_in = fz_take_u8 (input) % (BUFFERS_MAX + 1);
  ret->reply_len = fz_take_u8 (input);
  fz_take (input, ret->lens, ret->n_out + ret->n_in);
}

static void
run (FzInput input, VdFsQueue *fs_queue)
{
  static VdFsRequest request;
  VdQueue queue = { .push = push, .epoch = &queue.epochs[0] };
  struct iovec iov[BUFFERS_MAX * 2];
  void *buffers[BUFFERS_MAX * 2];
  Shape shape;

  take_shape (&input, &shape);
  make_buffers (iov, shape.n_out + shape.n_in, shape.lens);
  for (guint i = 0; i < shape.n_out + shape.n_in; i++)
    buffers[i] = iov[i].iov_base;
  vd_iov_write (iov, shape.n_out, 0, input.at, input.len);

  VdChain chain = {
    .queue = &queue,
    .request = &request,
    .out = iov,
    .in = iov + shape.n_out,
    .n_out = shape.n_out,
    .n_in = shape.n_in,
    .out_len = vd_iov_len (iov, shape.n_out),
    .in_len = vd_iov_len (iov + shape.n_out, shape.n_in),
    .epoch = queue.epoch,
  };
  gboolean has_room = chain.in_len >= sizeof (VdFuseOutHeader);
  gsize len;

  queue.epoch->in_flight = 1;
  done.n = 0;
  len = serve (fs_queue, &chain, &shape);
  g_assert_cmpuint (done.n, ==, 1);
  if (done.written != 0 || len != 0) {
    g_assert_true (has_room);
    g_assert_cmpuint (done.written, ==, sizeof (VdFuseOutHeader) + len);
  }
  free_buffers (buffers, shape.n_out + shape.n_in);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static VdFsCounters counters;
  static VdFsQueue queue = { .counters = &counters };

  if (queue.bench.message == NULL)
    queue.bench.message = g_malloc (VD_FS_MESSAGE_MAX);
  run ((FzInput){ data, size }, &queue);
  return 0;
}
