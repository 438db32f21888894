/* SPDX-License-Identifier: BSD-3-Clause
 *
 * connection.c - framing on a stream socket
 *
 * A message is read in place: first its 12 bytes of header, which alone may
 * bring descriptors, then exactly as many bytes as the header says, so that a
 * read never reaches into the next message and its descriptors.  Whatever
 * arrived stays in the connection until the rest does.
 */
#define G_LOG_DOMAIN "virtiod-protocol"

#include "protocol/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/closer.h"

/* Room for ancillary data.  The kernel makes one block of all descriptors, at
 * most 253, and may add credentials and a security label; what does not fit
 * raises MSG_CTRUNC. */
#define CONTROL_SIZE 2048

/* Part of a message that the socket did not take yet. */
typedef struct {
  gsize size; /* bytes[] */
  gsize sent; /* of them */
  int fd;     /* goes along with the first byte; owned; -1: none */
  guint8 bytes[];
} Output;

struct VdConnection {
  int fd;
  gboolean broken; /* the stream is lost; nothing is read any more */

  VdMessage input;  /* of which */
  gsize input_done; /* bytes have arrived, counted with the header */

  GQueue output;      /* Output */
  gsize output_size;  /* bytes in it */
  guint output_n_fds; /* descriptors in it */
};

static void
output_free (gpointer data)
{
  Output *output = data;

  if (output->fd >= 0)
    close (output->fd);
  g_free (output);
}

VdConnection *
vd_connection_new (int fd)
{
  VdConnection *self = g_new0 (VdConnection, 1);

  self->fd = fd;
  vd_message_init (&self->input);
  g_queue_init (&self->output);
  return self;
}

int
vd_connection_fd (const VdConnection *self)
{
  return self->fd;
}

/* Input */

static VdReadResult
lose (VdConnection *self, GError **error, const char *why)
{
  g_set_error_literal (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FRAMING, why);
  self->broken = TRUE;
  vd_message_clear (&self->input);
  return VD_READ_ERROR;
}

/* Moves the descriptors of @msg into @message and closes those beyond its room
 * and those that nobody wants.
 * Returns: how many there were. */
static guint
take_fds (struct msghdr *msg, VdMessage *message, gboolean *ret_lingers)
{
  guint n = 0;

  for (struct cmsghdr *c = CMSG_FIRSTHDR (msg); c; c = CMSG_NXTHDR (msg, c)) {
    gsize len = c->cmsg_len - CMSG_LEN (0);

    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
      continue;
    for (gsize at = 0; at + sizeof (int) <= len; at += sizeof (int), n++) {
      int fd;

      memcpy (&fd, CMSG_DATA (c) + at, sizeof fd);
      if (vd_fd_may_linger (fd)) {
        vd_close_elsewhere (fd);
        *ret_lingers = TRUE;
      } else if (message->n_fds < VD_MESSAGE_FDS)
        message->fds[message->n_fds++] = fd;
      else
        close (fd);
    }
  }
  return n;
}

/* What came along with bytes; the descriptors are in the message already. */
typedef struct {
  guint n_fds;
  gboolean truncated; /* there were more */
  gboolean lingers;   /* one was not taken: vd_fd_may_linger() */
} Along;

/* One recvmsg of @len bytes to @to.  Returns: as recvmsg(), never EINTR. */
static gssize
receive (VdConnection *self, void *to, gsize len, Along *ret)
{
  union {
    struct cmsghdr align;
    char bytes[CONTROL_SIZE];
  } control;
  struct iovec iov = { to, len };
  struct msghdr msg;
  gssize n;

  do {
    msg = (struct msghdr){
      .msg_iov = &iov,
      .msg_iovlen = 1,
      .msg_control = control.bytes,
      .msg_controllen = sizeof control.bytes,
    };
    n = recvmsg (self->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  if (n < 0)
    return n;
  ret->n_fds = take_fds (&msg, &self->input, &ret->lingers);
  ret->truncated = (msg.msg_flags & MSG_CTRUNC) != 0;
  return n;
}

/* Unread descriptors would be closed with the socket, and so make that wait. */
static void
drain (VdConnection *self)
{
  guint8 bytes[4096];
  Along along;

  shutdown (self->fd, SHUT_RDWR);
  do
    vd_message_clear (&self->input);
  while (receive (self, bytes, sizeof bytes, &along) > 0);
}

void
vd_connection_free (VdConnection *self)
{
  if (self == NULL)
    return;
  drain (self);
  g_queue_clear_full (&self->output, output_free);
  close (self->fd);
  g_free (self);
}

/* What a recvmsg that brought no bytes means. */
static VdReadResult
read_nothing (VdConnection *self, gssize n, GError **error)
{
  g_autofree char *why = NULL;
  gboolean left = n == 0 || errno == ECONNRESET;

  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
    return VD_READ_AGAIN;
  if (left && self->input_done == 0)
    return VD_READ_CLOSED;
  if (left)
    return lose (self, error, "the peer left in the middle of a message");
  why = g_strdup_printf ("cannot receive: %s", g_strerror (errno));
  return lose (self, error, why);
}

/* Reads up to @len more bytes of the message to @to.
 * Returns: VD_READ_MESSAGE if there were any. */
static VdReadResult
read_part (VdConnection *self, void *to, gsize len, GError **error)
{
  Along along = { 0 };
  gssize n = receive (self, to, len, &along);

  if (n <= 0)
    return read_nothing (self, n, error);
  if (along.lingers)
    return lose (self, error, "a message came with an internet socket");
  if (along.truncated || along.n_fds > VD_MESSAGE_FDS)
    return lose (self, error, "a message came with too many descriptors");
  if (along.n_fds > 0 && self->input_done > 0)
    return lose (self, error, "descriptors came in the middle of a message");
  self->input_done += (gsize) n;
  return VD_READ_MESSAGE;
}

static VdReadResult
check_header (VdConnection *self, GError **error)
{
  const VdWireHeader *header = &self->input.header;
  g_autofree char *why = NULL;

  if ((header->flags & VD_FLAG_VERSION) != VD_WIRE_VERSION)
    why = g_strdup_printf ("a message has flags 0x%x, not version %d",
                           header->flags, VD_WIRE_VERSION);
  else if (header->size > VD_PAYLOAD_MAX)
    why = g_strdup_printf ("a message has %u bytes of payload, at most %d are "
                           "possible",
                           header->size, VD_PAYLOAD_MAX);
  return why == NULL ? VD_READ_MESSAGE : lose (self, error, why);
}

static VdReadResult
read_header (VdConnection *self, GError **error)
{
  guint8 *bytes = (guint8 *) &self->input.header;

  while (self->input_done < sizeof (VdWireHeader)) {
    VdReadResult result =
        read_part (self, bytes + self->input_done,
                   sizeof (VdWireHeader) - self->input_done, error);

    if (result != VD_READ_MESSAGE)
      return result;
  }
  return check_header (self, error);
}

static VdReadResult
read_payload (VdConnection *self, GError **error)
{
  while (self->input_done < sizeof (VdWireHeader) + self->input.header.size) {
    gsize done = self->input_done - sizeof (VdWireHeader);
    VdReadResult result = read_part (self, self->input.payload.bytes + done,
                                     self->input.header.size - done, error);

    if (result != VD_READ_MESSAGE)
      return result;
  }
  return VD_READ_MESSAGE;
}

VdReadResult
vd_connection_read (VdConnection *self, VdMessage *ret, GError **error)
{
  VdReadResult result;

  if (self->broken)
    return lose (self, error, "the stream of messages is lost");
  result = read_header (self, error);
  if (result == VD_READ_MESSAGE)
    result = read_payload (self, error);
  if (result != VD_READ_MESSAGE)
    return result;
  *ret = self->input; /* with its descriptors */
  vd_message_init (&self->input);
  self->input_done = 0;
  return VD_READ_MESSAGE;
}

/* Output */

/* One sendmsg.  Returns: bytes sent, 0 if the socket is full, -1 with errno. */
static gssize
transmit (int socket_fd, const void *from, gsize len, int fd)
{
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE (sizeof (int))];
  } control = { 0 };
  struct iovec iov = { (void *) from, len };
  struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
  gssize n;

  if (fd >= 0) {
    control.align.cmsg_level = SOL_SOCKET;
    control.align.cmsg_type = SCM_RIGHTS;
    control.align.cmsg_len = CMSG_LEN (sizeof fd);
    memcpy (CMSG_DATA (&control.align), &fd, sizeof fd);
    msg.msg_control = control.bytes;
    msg.msg_controllen = sizeof control.bytes;
  }
  do {
    n = sendmsg (socket_fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
    return 0;
  return n;
}

gboolean
vd_connection_flush (VdConnection *self, GError **error)
{
  Output *output;

  while ((output = g_queue_peek_head (&self->output)) != NULL) {
    gssize n = transmit (self->fd, output->bytes + output->sent,
                         output->size - output->sent, output->fd);

    if (n < 0) {
      g_set_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FRAMING,
                   "cannot send: %s", g_strerror (errno));
      return FALSE;
    }
    if (n == 0)
      return TRUE;
    if (output->fd >= 0) {
      close (output->fd);
      output->fd = -1;
      self->output_n_fds--;
    }
    output->sent += (gsize) n;
    self->output_size -= (gsize) n;
    if (output->sent == output->size)
      output_free (g_queue_pop_head (&self->output));
  }
  return TRUE;
}

static gboolean
queue_output (VdConnection *self, const VdWireHeader *header,
              const void *payload, int fd, GError **error)
{
  gsize size = sizeof *header + header->size;
  Output *output;
  int copy = -1;

  if (self->output_size + size > VD_OUTPUT_MAX ||
      (fd >= 0 && self->output_n_fds == VD_OUTPUT_FDS_MAX)) {
    g_set_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FRAMING,
                 "the peer does not read: %" G_GSIZE_FORMAT
                 " bytes wait for it",
                 self->output_size);
    return FALSE;
  }
  if (fd >= 0 && (copy = fcntl (fd, F_DUPFD_CLOEXEC, 0)) < 0) {
    g_set_error (error, VD_MESSAGE_ERROR, VD_MESSAGE_ERROR_FRAMING,
                 "cannot keep a descriptor to send: %s", g_strerror (errno));
    return FALSE;
  }
  output = g_malloc (sizeof *output + size);
  *output = (Output){ .size = size, .fd = copy };
  memcpy (output->bytes, header, sizeof *header);
  if (header->size > 0)
    memcpy (output->bytes + sizeof *header, payload, header->size);
  g_queue_push_tail (&self->output, output);
  self->output_size += size;
  self->output_n_fds += copy >= 0;
  return TRUE;
}

gboolean
vd_connection_send (VdConnection *self, guint32 request, guint32 flags,
                    const void *payload, gsize size, int fd, GError **error)
{
  VdWireHeader header = { request, flags, (guint32) size };

  g_assert (size <= VD_PAYLOAD_MAX);
  return queue_output (self, &header, payload, fd, error) &&
         vd_connection_flush (self, error);
}

gboolean
vd_connection_has_output (const VdConnection *self)
{
  return self->output.length > 0;
}
