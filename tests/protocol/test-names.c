/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-names.c - what protocol/names.h promises
 */
#include "protocol/names.h"

#include "protocol/wire.h"

static void
test_every_request_has_a_name (void)
{
  for (guint32 i = 1; i < VD_REQUEST_END; i++)
    g_assert_cmpstr (vd_request_name (i), !=, "?");
  for (guint32 i = 1; i < VD_BACKEND_REQUEST_END; i++)
    g_assert_cmpstr (vd_backend_request_name (i), !=, "?");
}

static void
test_every_feature_has_a_name (void)
{
  for (guint i = 0; i <= VD_PROTOCOL_F_GET_VRING_BASE_SKIP_DRAIN; i++)
    g_assert_cmpstr (vd_protocol_feature_name (i), !=, "?");
}

static void
test_names_are_those_of_the_specification (void)
{
  g_assert_cmpstr (vd_request_name (5), ==, "SET_MEM_TABLE");
  g_assert_cmpstr (vd_request_name (45), ==, "GET_VRING_BASE_SKIP_DRAIN");
  g_assert_cmpstr (vd_backend_request_name (2), ==, "CONFIG_CHANGE_MSG");
  g_assert_cmpstr (vd_protocol_feature_name (22), ==, "SHMEM");
  g_assert_cmpstr (vd_virtio_id_name (2), ==, "block");
  g_assert_cmpstr (vd_virtio_id_name (26), ==, "fs");
}

static void
test_unknown_numbers_are_a_question_mark (void)
{
  const guint32 unknown[] = { 0, VD_REQUEST_END, 1000, G_MAXUINT32 };

  for (guint i = 0; i < G_N_ELEMENTS (unknown); i++) {
    g_assert_cmpstr (vd_request_name (unknown[i]), ==, "?");
    g_assert_cmpstr (vd_backend_request_name (unknown[i]), ==, "?");
    g_assert_cmpstr (vd_virtio_id_name (unknown[i]), ==, "?");
  }
  g_assert_cmpstr (vd_protocol_feature_name (24), ==, "?");
  g_assert_cmpstr (vd_protocol_feature_name (G_MAXUINT), ==, "?");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/names/requests", test_every_request_has_a_name);
  g_test_add_func ("/names/features", test_every_feature_has_a_name);
  g_test_add_func ("/names/specification",
                   test_names_are_those_of_the_specification);
  g_test_add_func ("/names/unknown", test_unknown_numbers_are_a_question_mark);
  return g_test_run ();
}
