/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz-message.c - the rules for messages, and their framing on a socket
 *
 * An input's first byte chooses.  Rules: a header, a number of descriptors, the
 * acked features and a payload.  Framing: pieces of a stream, each after a byte
 * for its length and whether descriptors come along; what arrives must be what a
 * plain reading of the whole stream gives.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/connection.h"
#include "tests/fuzz/fuzz.h"

#define PIECE_LEN     0x7f /* of a piece's first byte; the rest says: with fds */
#define PIECE_FDS_MAX 16   /* as many as the low bits of its next byte say */

/* Rules. */

static void
check_accepted (const VdMessage *message, guint64 features)
{
  const VdMessageRule *rule = vd_message_rule (message->header.request);
  guint32 size = message->header.size;

  g_assert_nonnull (rule);
  g_assert_true (rule->served);
  g_assert_cmpuint (size, >=, rule->size_min);
  g_assert_cmpuint (size, <=, rule->size_max);
  g_assert_cmpuint (message->n_fds, >=, rule->fds_min);
  g_assert_cmpuint (message->n_fds, <=, rule->fds_max);
  if (rule->feature >= 0 && rule->feature < 64)
    g_assert_true ((features >> rule->feature) & 1);
  if (message->header.request == VD_SET_MEM_TABLE) {
    guint32 n = message->payload.mem_table.n_regions;

    g_assert_cmpuint (n, >, 0);
    g_assert_cmpuint (n, ==, message->n_fds);
    g_assert_cmpuint (8 + n * 32, <=, size);
  }
  if (message->header.request == VD_SET_CONFIG)
    g_assert_cmpuint (12 + (guint64) message->payload.config.size, ==, size);
  if (message->header.request == VD_GET_CONFIG)
    g_assert_cmpuint (message->payload.config.size, <=, VD_PAYLOAD_MAX - 12);
}

static void
try_rules (FzInput input)
{
  g_autoptr (GError) error = NULL;
  guint64 features;
  VdMessage message;

  vd_message_init (&message);
  fz_take (&input, &message.header.request, 4);
  fz_take (&input, &message.header.flags, 4);
  fz_take (&input, &features, sizeof features);
  message.n_fds = fz_take_u8 (&input) % (VD_MESSAGE_FDS + 1);
  message.header.size = (guint32) MIN (input.len, VD_PAYLOAD_MAX);
  fz_take (&input, message.payload.bytes, message.header.size);
  if (vd_message_check (&message, features, &error)) {
    g_assert_no_error (error);
    check_accepted (&message, features);
  } else {
    g_assert_true (error != NULL && error->domain == VD_MESSAGE_ERROR);
  }
}

/* Framing. */

typedef struct {
  VdConnection *connection;
  int peer;
  int extra;          /* the descriptor that is sent along */
  GByteArray *stream; /* all that was sent, ... */
  GByteArray *fds_at; /* ... and how many descriptors came with each byte */
  gsize at;           /* bytes of it that arrived as messages */
  guint n_fds, n_fds_got;
  gboolean lost;
} Framing;

/* @message must be the next one of the stream. */
static void
check_message (Framing *framing, const VdMessage *message)
{
  const guint8 *bytes = framing->stream->data + framing->at;
  gsize len = sizeof message->header + message->header.size;

  g_assert_cmpuint (message->header.size, <=, VD_PAYLOAD_MAX);
  g_assert_cmpuint (message->header.flags & VD_FLAG_VERSION, ==, 1);
  g_assert_cmpuint (len, <=, framing->stream->len - framing->at);
  g_assert_cmpmem (bytes, sizeof message->header, &message->header,
                   sizeof message->header);
  g_assert_cmpint (memcmp (bytes + sizeof message->header,
                           message->payload.bytes, message->header.size),
                   ==, 0);
  for (gsize i = message->header.size; i < VD_PAYLOAD_MAX; i++)
    g_assert_cmpuint (message->payload.bytes[i], ==, 0);
  for (guint i = 0; i < VD_MESSAGE_FDS; i++)
    g_assert_cmpint (message->fds[i] >= 0, ==, i < message->n_fds);
  /* Each piece is read at once, so only the first byte can bring them. */
  g_assert_cmpuint (framing->fds_at->data[framing->at], ==, message->n_fds);
  for (gsize i = 1; i < len; i++)
    g_assert_cmpuint (framing->fds_at->data[framing->at + i], ==, 0);
  framing->n_fds_got += message->n_fds;
  framing->at += len;
}

/* Whether a whole message or a wrong header is the next in the stream. */
static gboolean
is_due (const Framing *framing)
{
  gsize left = framing->stream->len - framing->at;
  VdWireHeader header;

  if (left < sizeof header)
    return FALSE;
  memcpy (&header, framing->stream->data + framing->at, sizeof header);
  return (header.flags & VD_FLAG_VERSION) != VD_WIRE_VERSION ||
         header.size > VD_PAYLOAD_MAX || left - sizeof header >= header.size;
}

static void
receive (Framing *framing)
{
  VdReadResult result;

  do {
    g_autoptr (GError) error = NULL;
    VdMessage message;

    vd_message_init (&message);
    result = vd_connection_read (framing->connection, &message, &error);
    g_assert_true ((result == VD_READ_ERROR) == (error != NULL));
    if (result == VD_READ_MESSAGE)
      check_message (framing, &message);
    vd_message_clear (&message);
  } while (result == VD_READ_MESSAGE);
  g_assert_true (result != VD_READ_CLOSED);
  framing->lost = result == VD_READ_ERROR;
  /* Only a descriptor in the wrong place may end it before a wrong header. */
  if (framing->n_fds == 0)
    g_assert_cmpint (framing->lost, ==, is_due (framing));
  else if (!framing->lost)
    g_assert_false (is_due (framing));
}

static void
transmit (Framing *framing, FzInput piece, gboolean with_fds)
{
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE (PIECE_FDS_MAX * sizeof (int))];
  } control = { 0 };
  struct iovec iov = { (void *) piece.at, piece.len };
  struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
  const guint n_before = framing->n_fds;

  if (with_fds) {
    guint n = 1 + piece.at[0] % PIECE_FDS_MAX;

    control.align.cmsg_level = SOL_SOCKET;
    control.align.cmsg_type = SCM_RIGHTS;
    control.align.cmsg_len = CMSG_LEN (n * sizeof (int));
    for (guint i = 0; i < n; i++)
      memcpy (CMSG_DATA (&control.align) + i * sizeof (int), &framing->extra,
              sizeof (int));
    msg.msg_control = control.bytes;
    msg.msg_controllen = CMSG_SPACE (n * sizeof (int));
    framing->n_fds += n;
  }
  g_assert_cmpint (sendmsg (framing->peer, &msg, MSG_NOSIGNAL | MSG_DONTWAIT),
                   ==, piece.len);
  g_byte_array_append (framing->stream, piece.at, (guint) piece.len);
  g_byte_array_set_size (framing->fds_at, framing->stream->len);
  memset (framing->fds_at->data + framing->stream->len - piece.len, 0,
          piece.len);
  framing->fds_at->data[framing->stream->len - piece.len] =
      (guint8) (framing->n_fds - n_before);
}

/* Returns: the lowest number that a new descriptor would have. */
static int
next_fd (void)
{
  int fd = fcntl (STDERR_FILENO, F_DUPFD_CLOEXEC, 0);

  close (fd);
  return fd;
}

static void
try_framing (FzInput input)
{
  int fds[2], before = next_fd ();
  Framing framing = { .stream = g_byte_array_new (),
                      .fds_at = g_byte_array_new (),
                      .extra = STDERR_FILENO };

  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==,
                   0);
  framing.connection = vd_connection_new (fds[0]);
  framing.peer = fds[1];
  while (input.len > 1 && !framing.lost) {
    guint8 how = fz_take_u8 (&input);
    FzInput piece = fz_take_part (&input, (how & PIECE_LEN) + 1);

    transmit (&framing, piece, (how & ~PIECE_LEN) != 0);
    receive (&framing);
  }
  g_assert_cmpuint (framing.n_fds_got, <=, framing.n_fds);
  vd_connection_free (framing.connection);
  close (framing.peer);
  g_byte_array_unref (framing.stream);
  g_byte_array_unref (framing.fds_at);
  g_assert_cmpint (next_fd (), ==, before);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  FzInput input = { data, size };

  if (fz_take_u8 (&input) & 1)
    try_framing (input);
  else
    try_rules (input);
  return 0;
}
