/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-message.c - what protocol/message.h promises
 *
 * The expected sizes, descriptor counts and features are written down here a
 * second time, from the specification, not read from the table under test.
 */
#include "protocol/message.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define ALL_FEATURES (~G_GUINT64_CONSTANT (0))
#define BIT(n)       (G_GUINT64_CONSTANT (1) << (n))

/* Requests that are served, with a shortest legal payload. */
typedef struct {
  guint32 request;
  guint32 size_min, size_max;
  guint fds_min, fds_max;
  int feature;
  gboolean reply;
} Expected;

static const Expected served[] = {
  { VD_GET_FEATURES, 0, 0, 0, 0, -1, TRUE },
  { VD_SET_FEATURES, 8, 8, 0, 0, -1, FALSE },
  { VD_SET_OWNER, 0, 0, 0, 0, -1, FALSE },
  { VD_RESET_OWNER, 0, 0, 0, 0, -1, FALSE },
  { VD_SET_MEM_TABLE, 40, 4096, 1, 1, -1, FALSE }, /* with one region */
  { VD_SET_LOG_BASE, 16, 16, 1, 1, VD_PROTOCOL_F_LOG_SHMFD, TRUE },
  { VD_SET_LOG_FD, 0, 0, 1, 1, -1, FALSE },
  { VD_SET_VRING_NUM, 8, 8, 0, 0, -1, FALSE },
  { VD_SET_VRING_ADDR, 40, 40, 0, 0, -1, FALSE },
  { VD_SET_VRING_BASE, 8, 8, 0, 0, -1, FALSE },
  { VD_GET_VRING_BASE, 8, 8, 0, 0, -1, TRUE },
  { VD_SET_VRING_KICK, 8, 8, 1, 1, -1, FALSE }, /* without NOFD */
  { VD_SET_VRING_CALL, 8, 8, 1, 1, -1, FALSE },
  { VD_SET_VRING_ERR, 8, 8, 1, 1, -1, FALSE },
  { VD_GET_PROTOCOL_FEATURES, 0, 0, 0, 0, -1, TRUE },
  { VD_SET_PROTOCOL_FEATURES, 8, 8, 0, 0, -1, FALSE },
  { VD_GET_QUEUE_NUM, 0, 0, 0, 0, VD_PROTOCOL_F_MQ, TRUE },
  { VD_SET_VRING_ENABLE, 8, 8, 0, 0, -1, FALSE },
  { VD_SET_BACKEND_REQ_FD, 0, 0, 1, 1, VD_PROTOCOL_F_BACKEND_REQ, FALSE },
  { VD_IOTLB_MSG, 26, 32, 0, 0, VD_PROTOCOL_F_BACKEND_REQ, TRUE },
  { VD_GET_CONFIG, 12, 12, 0, 0, VD_PROTOCOL_F_CONFIG, TRUE }, /* size 0 */
  { VD_SET_CONFIG, 12, 12, 0, 0, VD_PROTOCOL_F_CONFIG, FALSE },
  { VD_GET_INFLIGHT_FD, 20, 24, 0, 0, VD_PROTOCOL_F_INFLIGHT_SHMFD, TRUE },
  { VD_SET_INFLIGHT_FD, 20, 24, 1, 1, VD_PROTOCOL_F_INFLIGHT_SHMFD, FALSE },
  { VD_POSTCOPY_ADVISE, 0, 0, 0, 0, VD_PROTOCOL_F_PAGEFAULT, TRUE },
  { VD_POSTCOPY_LISTEN, 0, 0, 0, 0, VD_PROTOCOL_F_PAGEFAULT, FALSE },
  { VD_POSTCOPY_END, 0, 0, 0, 0, VD_PROTOCOL_F_PAGEFAULT, TRUE },
  { VD_RESET_DEVICE, 0, 0, 0, 0, VD_PROTOCOL_F_RESET_DEVICE, FALSE },
  { VD_GET_MAX_MEM_SLOTS, 0, 0, 0, 0, VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS, TRUE },
  { VD_ADD_MEM_REG, 40, 40, 1, 1, VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS, FALSE },
  { VD_VRING_KICK, 8, 8, 0, 0, VD_PROTOCOL_F_INBAND_NOTIFICATIONS, FALSE },
  { VD_SET_DEVICE_STATE_FD, 8, 8, 1, 1, VD_PROTOCOL_F_DEVICE_STATE, TRUE },
  { VD_CHECK_DEVICE_STATE, 0, 0, 0, 0, VD_PROTOCOL_F_DEVICE_STATE, TRUE },
  { VD_SET_STATUS, 8, 8, 0, 0, VD_PROTOCOL_F_STATUS, FALSE },
  { VD_GET_STATUS, 0, 0, 0, 0, VD_PROTOCOL_F_STATUS, TRUE },
  { VD_GET_SHMEM_CONFIG, 0, 0, 0, 0, VD_PROTOCOL_F_SHMEM, TRUE },
  { VD_GET_VRING_BASE_SKIP_DRAIN, 8, 8, 0, 0,
    VD_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN, TRUE },
  { VD_REM_MEM_REG, 40, 40, 0, 1, VD_PROTOCOL_F_CONFIGURE_MEM_SLOTS, FALSE },
};

static const Expected *
find_served (guint32 request)
{
  for (guint i = 0; i < G_N_ELEMENTS (served); i++)
    if (served[i].request == request)
      return &served[i];
  return NULL;
}

/* A message whose descriptors are numbers that no one has open; nothing here
 * clears it. */
static VdMessage
message_of (guint32 request, guint32 size, guint n_fds)
{
  VdMessage message;

  vd_message_init (&message);
  message.header = (VdWireHeader){ request, VD_WIRE_VERSION, size };
  message.n_fds = n_fds;
  for (guint i = 0; i < n_fds; i++)
    message.fds[i] = G_MAXINT;
  if (request == VD_SET_MEM_TABLE)
    message.payload.mem_table.n_regions = 1;
  return message;
}

static void
assert_legal (const VdMessage *message, guint64 features)
{
  g_autoptr (GError) error = NULL;
  gboolean legal = vd_message_check (message, features, &error);

  g_assert_no_error (error);
  g_assert_true (legal);
}

static void
assert_refused (const VdMessage *message, guint64 features, VdMessageError code)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (vd_message_check (message, features, &error));
  g_assert_error (error, VD_MESSAGE_ERROR, (int) code);
}

static void
test_size_is_exact (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (served); i++) {
    const Expected *e = &served[i];

    for (guint32 size = 0; size <= VD_PAYLOAD_MAX; size++) {
      VdMessage message = message_of (e->request, size, e->fds_min);

      if ((size >= e->size_min && size <= e->size_max) ||
          vd_message_is_postcopy_ack (&message))
        assert_legal (&message, ALL_FEATURES);
      else
        assert_refused (&message, ALL_FEATURES, VD_MESSAGE_ERROR_SIZE);
    }
  }
}

/* Requests that share memory, with a zero and no descriptor. */
static void
test_postcopy_acks_need_their_feature (void)
{
  const guint32 requests[] = { VD_SET_MEM_TABLE, VD_ADD_MEM_REG,
                               VD_REM_MEM_REG };

  for (guint i = 0; i < G_N_ELEMENTS (requests); i++) {
    VdMessage message = message_of (requests[i], 8, 0);

    message.payload.u64 = 0;
    assert_legal (&message, BIT (VD_PROTOCOL_F_PAGEFAULT));
    assert_refused (&message, ALL_FEATURES & ~BIT (VD_PROTOCOL_F_PAGEFAULT),
                    VD_MESSAGE_ERROR_SIZE);
    message.payload.u64 = 1;
    g_assert_false (vd_message_is_postcopy_ack (&message));
    message = message_of (requests[i], 8, 1);
    message.payload.u64 = 0;
    g_assert_false (vd_message_is_postcopy_ack (&message));
  }
}

static void
test_number_of_descriptors_is_exact (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (served); i++) {
    const Expected *e = &served[i];

    for (guint n = 0; n <= VD_MESSAGE_FDS; n++) {
      VdMessage message = message_of (e->request, e->size_min, n);

      if (n >= e->fds_min && n <= e->fds_max)
        assert_legal (&message, ALL_FEATURES);
      else
        assert_refused (&message, ALL_FEATURES, VD_MESSAGE_ERROR_FDS);
    }
  }
}

static void
test_feature_must_be_acked (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (served); i++) {
    const Expected *e = &served[i];
    VdMessage message = message_of (e->request, e->size_min, e->fds_min);

    if (e->feature < 0) {
      assert_legal (&message, 0);
      continue;
    }
    assert_refused (&message, 0, VD_MESSAGE_ERROR_FEATURE);
    assert_refused (&message, ~BIT (e->feature), VD_MESSAGE_ERROR_FEATURE);
    assert_legal (&message, BIT (e->feature));
  }
}

static void
test_reply_or_ack (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (served); i++)
    g_assert_cmpint (vd_message_rule (served[i].request)->reply, ==,
                     served[i].reply);
}

static void
test_unknown_requests_are_refused (void)
{
  const guint32 unknown[] = { 0, VD_REQUEST_END, 46, 255, G_MAXUINT32 };

  for (guint i = 0; i < G_N_ELEMENTS (unknown); i++) {
    VdMessage message = message_of (unknown[i], 0, 0);

    g_assert_null (vd_message_rule (unknown[i]));
    assert_refused (&message, ALL_FEATURES, VD_MESSAGE_ERROR_UNKNOWN);
  }
}

static void
test_unserved_requests_are_known_and_refused (void)
{
  for (guint32 request = 1; request < VD_REQUEST_END; request++) {
    const VdMessageRule *rule = vd_message_rule (request);
    const Expected *e = find_served (request);

    g_assert_nonnull (rule);
    g_assert_cmpint (rule->served, ==, e != NULL);
    if (e == NULL) {
      VdMessage message = message_of (request, rule->size_min, rule->fds_min);

      assert_refused (&message, ALL_FEATURES, VD_MESSAGE_ERROR_UNKNOWN);
    }
  }
}

static void
test_error_names_the_request (void)
{
  for (guint32 request = 1; request < VD_REQUEST_END; request++) {
    const VdMessageRule *rule = vd_message_rule (request);
    VdMessage message = message_of (request, VD_PAYLOAD_MAX, VD_MESSAGE_FDS);
    g_autoptr (GError) error = NULL;

    g_assert_false (vd_message_check (&message, 0, &error));
    g_assert_true (g_str_has_prefix (error->message, rule->name));
  }
}

static VdMessage
mem_table_of (guint32 n_regions, guint32 size, guint n_fds)
{
  VdMessage message = message_of (VD_SET_MEM_TABLE, size, n_fds);

  message.payload.mem_table.n_regions = n_regions;
  return message;
}

static void
test_memory_table_of_1_to_8_regions (void)
{
  for (guint32 n = 1; n <= VD_MEM_TABLE_MAX; n++) {
    VdMessage fits = mem_table_of (n, 8 + 32 * n, n);
    VdMessage longer = mem_table_of (n, 8 + 32 * (n + 1), n);
    VdMessage shorter = mem_table_of (n, 8 + 32 * n - 1, n);

    assert_legal (&fits, 0);
    assert_legal (&longer, 0); /* UML sends room for two regions */
    assert_refused (&shorter, 0, VD_MESSAGE_ERROR_SIZE);
  }
}

static void
test_memory_table_with_a_wild_count (void)
{
  const guint32 wild[] = { 0,          9,          20,         127,
                           0x08000000, 0x0fffffff, 0x7fffffff, G_MAXUINT32 };

  for (guint i = 0; i < G_N_ELEMENTS (wild); i++) {
    VdMessage full = mem_table_of (wild[i], VD_PAYLOAD_MAX, VD_MESSAGE_FDS);
    VdMessage one = mem_table_of (wild[i], 40, 1);

    assert_refused (&full, 0, VD_MESSAGE_ERROR_SIZE);
    assert_refused (&one, 0, VD_MESSAGE_ERROR_SIZE);
  }
}

static void
test_memory_table_needs_a_descriptor_per_region (void)
{
  for (guint32 n = 1; n <= VD_MEM_TABLE_MAX; n++) {
    for (guint n_fds = 0; n_fds <= VD_MESSAGE_FDS; n_fds++) {
      VdMessage message = mem_table_of (n, 8 + 32 * n, n_fds);

      if (n_fds == n)
        assert_legal (&message, 0);
      else
        assert_refused (&message, 0, VD_MESSAGE_ERROR_FDS);
    }
  }
}

static void
test_memory_without_descriptor_tells_the_remedy (void)
{
  VdMessage message = mem_table_of (1, 40, 0);
  g_autoptr (GError) error = NULL;

  g_assert_false (vd_message_check (&message, 0, &error));
  g_assert_nonnull (strstr (error->message, "share=on"));
}

static VdMessage
config_of (guint32 request, guint32 header_size, guint32 offset, guint32 size)
{
  VdMessage message = message_of (request, header_size, 0);

  message.payload.config.offset = offset;
  message.payload.config.size = size;
  return message;
}

static void
test_config_window_has_the_payload_s_length (void)
{
  const guint32 requests[] = { VD_GET_CONFIG, VD_SET_CONFIG };

  for (guint i = 0; i < G_N_ELEMENTS (requests); i++) {
    for (guint32 size = 0; size <= 4084; size += 4) {
      VdMessage fits = config_of (requests[i], 12 + size, 0, size);
      VdMessage wants_more = config_of (requests[i], 12 + size, 0, size + 1);
      VdMessage wants_less = config_of (requests[i], 12 + size + 1, 0, size);

      assert_legal (&fits, ALL_FEATURES);
      if (size > 0)
        assert_refused (&wants_more, ALL_FEATURES, VD_MESSAGE_ERROR_SIZE);
      assert_refused (&wants_less, ALL_FEATURES, VD_MESSAGE_ERROR_SIZE);
    }
  }
}

static void
test_config_window_cannot_wrap (void)
{
  const guint32 sizes[] = { 4085, 4096, 0x7fffffff, G_MAXUINT32 - 11,
                            G_MAXUINT32 };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    VdMessage get = config_of (VD_GET_CONFIG, 12, 0, sizes[i]);
    VdMessage set = config_of (VD_SET_CONFIG, 12 + sizes[i], 0, sizes[i]);

    assert_refused (&get, ALL_FEATURES, VD_MESSAGE_ERROR_SIZE);
    assert_refused (&set, ALL_FEATURES, VD_MESSAGE_ERROR_SIZE);
  }
}

static void
test_config_read_may_omit_its_payload (void)
{
  VdMessage get = config_of (VD_GET_CONFIG, 12, 0, 60);
  VdMessage set = config_of (VD_SET_CONFIG, 12, 0, 60);

  assert_legal (&get, ALL_FEATURES);
  assert_refused (&set, ALL_FEATURES, VD_MESSAGE_ERROR_SIZE);
}

/* Where config space ends is the device's affair. */
static void
test_config_offset_is_the_session_s_business (void)
{
  VdMessage message = config_of (VD_GET_CONFIG, 16, G_MAXUINT32, 4);

  assert_legal (&message, ALL_FEATURES);
}

static void
test_vring_fd_comes_unless_told_otherwise (void)
{
  for (guint32 request = VD_SET_VRING_KICK; request <= VD_SET_VRING_ERR;
       request++) {
    VdMessage without = message_of (request, 8, 0);
    VdMessage with = message_of (request, 8, 1);

    without.payload.u64 = with.payload.u64 = 3;
    assert_legal (&with, 0);
    assert_refused (&without, 0, VD_MESSAGE_ERROR_FDS);
    without.payload.u64 = with.payload.u64 = VD_VRING_NOFD_MASK | 3;
    assert_refused (&with, 0, VD_MESSAGE_ERROR_FDS);
    assert_legal (&without, 0);
  }
}

static int
open_null (void)
{
  int fd = open ("/dev/null", O_RDONLY | O_CLOEXEC);

  g_assert_cmpint (fd, >=, 0);
  return fd;
}

static void
test_clear_closes_what_no_one_took (void)
{
  VdMessage message;
  int taken, left;

  vd_message_init (&message);
  message.n_fds = 2;
  taken = message.fds[0] = open_null ();
  left = message.fds[1] = open_null ();
  g_assert_cmpint (vd_message_take_fd (&message, 0), ==, taken);
  g_assert_cmpint (vd_message_take_fd (&message, 0), ==, -1);
  vd_message_clear (&message);

  g_assert_cmpint (fcntl (taken, F_GETFD), >=, 0);
  g_assert_cmpint (fcntl (left, F_GETFD), ==, -1);
  g_assert_cmpuint (message.n_fds, ==, 0);
  close (taken);
}

/* An array of zeroes would make it close descriptor 0. */
static void
test_empty_message_has_no_descriptor (void)
{
  VdMessage message;

  vd_message_init (&message);
  for (guint i = 0; i < VD_MESSAGE_FDS + 2; i++)
    g_assert_cmpint (vd_message_take_fd (&message, i), ==, -1);
  g_assert_cmpint (vd_message_take_fd (&message, G_MAXUINT), ==, -1);
  vd_message_clear (&message);
  g_assert_cmpint (fcntl (0, F_GETFD), >=, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, func) g_test_add_func ("/message/" path, func)
  ADD ("size", test_size_is_exact);
  ADD ("postcopy-ack", test_postcopy_acks_need_their_feature);
  ADD ("fds", test_number_of_descriptors_is_exact);
  ADD ("feature", test_feature_must_be_acked);
  ADD ("reply", test_reply_or_ack);
  ADD ("unknown", test_unknown_requests_are_refused);
  ADD ("unserved", test_unserved_requests_are_known_and_refused);
  ADD ("error", test_error_names_the_request);
  ADD ("mem-table/count", test_memory_table_of_1_to_8_regions);
  ADD ("mem-table/wild", test_memory_table_with_a_wild_count);
  ADD ("mem-table/fds", test_memory_table_needs_a_descriptor_per_region);
  ADD ("mem-table/remedy", test_memory_without_descriptor_tells_the_remedy);
  ADD ("config/length", test_config_window_has_the_payload_s_length);
  ADD ("config/wrap", test_config_window_cannot_wrap);
  ADD ("config/bare-read", test_config_read_may_omit_its_payload);
  ADD ("config/offset", test_config_offset_is_the_session_s_business);
  ADD ("vring-fd", test_vring_fd_comes_unless_told_otherwise);
  ADD ("clear", test_clear_closes_what_no_one_took);
  ADD ("init", test_empty_message_has_no_descriptor);
  return g_test_run ();
}
