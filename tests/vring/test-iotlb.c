/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-iotlb.c - what vring/iotlb.c promises of translations
 */
#include "vring/iotlb.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define PAGE 4096ull
#define R    VD_ACCESS_READ
#define W    VD_ACCESS_WRITE
#define RW   (R | W)

static gboolean
update (VdIotlb *iotlb, guint64 iova, guint64 size, guint64 uva, guint access)
{
  const VdIotlbEntry entry = { iova, size, uva, access };

  return vd_iotlb_update (iotlb, &entry);
}

static void
assert_found (VdIotlb *iotlb, guint64 iova, guint access, guint64 uva,
              guint64 wanted, guint64 expected_len)
{
  guint64 at = 0;

  g_assert_cmpuint (vd_iotlb_find (iotlb, iova, access, &wanted, &at), ==, 0);
  g_assert_cmphex (at, ==, uva);
  g_assert_cmpuint (wanted, ==, expected_len);
}

/* Returns: what of @access is missing. */
static guint
missing (VdIotlb *iotlb, guint64 iova, guint access)
{
  guint64 len = 1, uva;

  return vd_iotlb_find (iotlb, iova, access, &len, &uva);
}

static void
test_entries_translate_to_their_ends (void)
{
  g_autoptr (VdIotlb) iotlb = vd_iotlb_new ();

  g_assert_cmpuint (missing (iotlb, 0, RW), ==, RW);
  update (iotlb, 0x10000, PAGE, 0x7000000, RW);
  update (iotlb, 0x20000, 1, 0x8000000, R);
  g_assert_cmpuint (vd_iotlb_n_entries (iotlb), ==, 2);

  assert_found (iotlb, 0x10000, RW, 0x7000000, 10, 10);
  assert_found (iotlb, 0x10fff, R, 0x7000fff, 10, 1);
  assert_found (iotlb, 0x10ffe, R, 0x7000ffe, G_MAXUINT64, 2);
  assert_found (iotlb, 0x20000, R, 0x8000000, 1, 1);
  g_assert_cmpuint (missing (iotlb, 0xffff, R), ==, R);
  g_assert_cmpuint (missing (iotlb, 0x11000, R), ==, R);
  g_assert_cmpuint (missing (iotlb, 0x20001, R), ==, R);
}

static void
test_what_is_missing_of_an_access_is_told (void)
{
  g_autoptr (VdIotlb) iotlb = vd_iotlb_new ();

  update (iotlb, 0, PAGE, PAGE, R);
  g_assert_cmpuint (missing (iotlb, 5, R), ==, 0);
  g_assert_cmpuint (missing (iotlb, 5, W), ==, W);
  g_assert_cmpuint (missing (iotlb, 5, RW), ==, W);
}

/* QEMU's virtio-iommu grants no more than it was asked for. */
static void
test_permissions_of_one_translation_add_up (void)
{
  g_autoptr (VdIotlb) iotlb = vd_iotlb_new ();

  g_assert_false (update (iotlb, PAGE, PAGE, 0x5000, R));
  g_assert_false (update (iotlb, PAGE, PAGE, 0x5000, W));
  g_assert_cmpuint (vd_iotlb_n_entries (iotlb), ==, 1);
  g_assert_cmpuint (missing (iotlb, PAGE, RW), ==, 0);
}

static void
test_another_translation_takes_no_permission_over (void)
{
  g_autoptr (VdIotlb) iotlb = vd_iotlb_new ();

  update (iotlb, PAGE, PAGE, 0x5000, RW);
  g_assert_true (update (iotlb, PAGE, PAGE, 0x6000, R));
  assert_found (iotlb, PAGE, R, 0x6000, 1, 1);
  g_assert_cmpuint (missing (iotlb, PAGE, W), ==, W);
}

static void
test_an_update_replaces_all_that_it_overlaps (void)
{
  g_autoptr (VdIotlb) iotlb = vd_iotlb_new ();

  for (guint64 i = 0; i < 8; i++)
    update (iotlb, i * PAGE, PAGE, 0x100000 + i * PAGE, RW);
  /* the last byte of page 1 to the first byte of page 4, as it was */
  g_assert_false (
      update (iotlb, 2 * PAGE - 1, 2 * PAGE + 2, 0x100000 + 2 * PAGE - 1, RW));
  g_assert_cmpuint (vd_iotlb_n_entries (iotlb), ==, 5);
  g_assert_cmpuint (missing (iotlb, 2 * PAGE - 2, R), ==, R);
  assert_found (iotlb, 2 * PAGE - 1, RW, 0x100000 + 2 * PAGE - 1, PAGE * 9,
                2 * PAGE + 2);
  g_assert_cmpuint (missing (iotlb, 4 * PAGE + 1, R), ==, R);
  /* over all, to elsewhere */
  g_assert_true (update (iotlb, 0, 64 * PAGE, 0x900000, R));
  g_assert_cmpuint (vd_iotlb_n_entries (iotlb), ==, 1);
}

static void
test_the_ends_of_the_address_space_are_addresses (void)
{
  g_autoptr (VdIotlb) iotlb = vd_iotlb_new ();
  const guint64 last_page = -PAGE;

  update (iotlb, last_page, PAGE, 0x3000, RW);
  update (iotlb, 0, PAGE, last_page, RW);
  assert_found (iotlb, G_MAXUINT64, RW, 0x3fff, 10, 1);
  assert_found (iotlb, PAGE - 1, RW, G_MAXUINT64, 10, 1);
  update (iotlb, 0, G_MAXUINT64, 0, R); /* all but the last byte */
  g_assert_cmpuint (vd_iotlb_n_entries (iotlb), ==, 1);
  assert_found (iotlb, 77, R, 77, G_MAXUINT64, G_MAXUINT64 - 77);
  g_assert_cmpuint (missing (iotlb, G_MAXUINT64, R), ==, R);
  vd_iotlb_invalidate (iotlb, G_MAXUINT64, G_MAXUINT64);
  g_assert_cmpuint (vd_iotlb_n_entries (iotlb), ==, 1);
  vd_iotlb_invalidate (iotlb, 0, G_MAXUINT64);
  g_assert_cmpuint (vd_iotlb_n_entries (iotlb), ==, 0);
}

static void
test_invalidation_takes_every_entry_that_it_touches (void)
{
  g_autoptr (VdIotlb) iotlb = vd_iotlb_new ();

  for (guint64 i = 1; i <= 4; i++)
    update (iotlb, i * 2 * PAGE, PAGE, i * PAGE, RW);
  vd_iotlb_invalidate (iotlb, 0, 2 * PAGE - 1);        /* before the first */
  vd_iotlb_invalidate (iotlb, 3 * PAGE, 4 * PAGE - 1); /* between two */
  g_assert_cmpuint (vd_iotlb_n_entries (iotlb), ==, 4);
  vd_iotlb_invalidate (iotlb, 5 * PAGE - 1, 6 * PAGE); /* a byte of each */
  g_assert_cmpuint (vd_iotlb_n_entries (iotlb), ==, 2);
  g_assert_cmpuint (missing (iotlb, 4 * PAGE, R), ==, R);
  g_assert_cmpuint (missing (iotlb, 6 * PAGE, R), ==, R);
  assert_found (iotlb, 8 * PAGE, R, 4 * PAGE, 1, 1);
}

static void
test_a_flood_of_entries_stays_bounded (void)
{
  g_autoptr (VdIotlb) iotlb = vd_iotlb_new ();
  guint n_kept = 0;

  for (guint64 i = 0; i < 3 * VD_IOTLB_MAX; i++) {
    update (iotlb, i * PAGE, PAGE, i * PAGE, R);
    /* What was told last is there: who asked for it finds it. */
    assert_found (iotlb, i * PAGE, R, i * PAGE, 1, 1);
  }
  g_assert_cmpuint (vd_iotlb_n_entries (iotlb), ==, VD_IOTLB_MAX);
  for (guint64 i = 0; i < 3 * VD_IOTLB_MAX; i++)
    n_kept += missing (iotlb, i * PAGE, R) == 0;
  g_assert_cmpuint (n_kept, ==, VD_IOTLB_MAX);
  /* One that replaces another needs no room. */
  update (iotlb, (3 * VD_IOTLB_MAX - 1) * PAGE, PAGE, 0, R);
  g_assert_cmpuint (vd_iotlb_n_entries (iotlb), ==, VD_IOTLB_MAX);
}

static void
test_ranges_are_found_across_entries (void)
{
  g_autoptr (VdIotlb) iotlb = vd_iotlb_new ();
  guint64 uva = 0;
  VdMiss miss;

  update (iotlb, PAGE, PAGE, 0x50000, RW);
  update (iotlb, 2 * PAGE, PAGE, 0x51000, R);
  update (iotlb, 3 * PAGE, PAGE, 0x60000, RW);

  g_assert_true (vd_iotlb_find_all (iotlb, PAGE + 16, PAGE, R, &uva, &miss));
  g_assert_cmphex (uva, ==, 0x50010);
  g_assert_false (vd_iotlb_find_all (iotlb, PAGE + 16, PAGE, RW, &uva, &miss));
  g_assert_cmphex (miss.iova, ==, 2 * PAGE);
  g_assert_cmpuint (miss.access, ==, W);
  g_assert_false (vd_iotlb_find_all (iotlb, PAGE, 4 * PAGE, R, &uva, &miss));
  g_assert_cmpuint (miss.access, ==, 0); /* scattered: no use to ask */
  g_assert_false (vd_iotlb_find_all (iotlb, -16ull, 32, R, &uva, &miss));
  g_assert_cmpuint (miss.access, ==, 0); /* wraps: likewise */
}

/* The same as the array, page by page. */
#define MODEL_PAGES 256
typedef struct {
  guint64 uva[MODEL_PAGES];
  guint access[MODEL_PAGES];
  guint id[MODEL_PAGES]; /* of the entry that the page belongs to */
} Model;

static void
model_forget (Model *model, guint id)
{
  for (guint i = 0; i < MODEL_PAGES; i++)
    if (id != 0 && model->id[i] == id)
      model->access[i] = model->id[i] = 0;
}

static void
model_invalidate (Model *model, guint first, guint n)
{
  for (guint i = first; i < first + n; i++)
    model_forget (model, model->id[i]);
}

static void
model_update (Model *model, guint first, guint n, guint64 uva, guint access,
              guint id)
{
  guint old = model->id[first], n_old = 0;

  for (guint i = 0; i < MODEL_PAGES; i++)
    n_old += old != 0 && model->id[i] == old;
  if (n_old == n && model->id[first + n - 1] == old && model->uva[first] == uva)
    access |= model->access[first];
  model_invalidate (model, first, n);
  for (guint i = 0; i < n; i++) {
    model->id[first + i] = id;
    model->access[first + i] = access;
    model->uva[first + i] = uva + i * PAGE;
  }
}

static void
assert_like_model (VdIotlb *iotlb, const Model *model)
{
  for (guint i = 0; i < MODEL_PAGES; i++) {
    guint64 len = 1, uva = 0;

    g_assert_cmpuint (vd_iotlb_find (iotlb, i * PAGE, RW, &len, &uva), ==,
                      RW & ~model->access[i]);
    if (model->access[i] != 0)
      g_assert_cmphex (uva, ==, model->uva[i]);
  }
}

static void
test_random_changes_agree_with_a_model (void)
{
  g_autoptr (VdIotlb) iotlb = vd_iotlb_new ();
  g_autofree Model *model = g_new0 (Model, 1);

  for (guint id = 1; id < 3000; id++) {
    guint first = (guint) g_test_rand_int_range (0, MODEL_PAGES);
    guint n = (guint) g_test_rand_int_range (
        1, 1 + (gint32) MIN (8, MODEL_PAGES - first));
    /* few distinct ones, so that some repeat what is there */
    guint64 uva = (first + (guint) g_test_rand_int_range (0, 2) * 512) * PAGE;
    guint access = (guint) g_test_rand_int_range (R, RW + 1);

    if (g_test_rand_int_range (0, 4) == 0) {
      vd_iotlb_invalidate (iotlb, first * PAGE, (first + n) * PAGE - 1);
      model_invalidate (model, first, n);
    } else {
      update (iotlb, first * PAGE, n * PAGE, uva, access);
      model_update (model, first, n, uva, access, id);
    }
    assert_like_model (iotlb, model);
  }
}

typedef struct {
  VdIotlb *iotlb;
  atomic_bool end;
} Reader;

/* A translation is either right or missing, whatever CONTROL does. */
static void *
read_all_the_time (void *data)
{
  Reader *reader = data;
  guint64 i = 0;

  while (!atomic_load (&reader->end)) {
    guint64 iova = (i++ % 64) * PAGE, len = 1, uva = 0;

    if (vd_iotlb_find (reader->iotlb, iova, R, &len, &uva) == 0)
      g_assert_cmphex (uva, ==, iova + 0x40000000);
  }
  return NULL;
}

static void
test_queues_read_while_control_writes (void)
{
  g_autoptr (VdIotlb) iotlb = vd_iotlb_new ();
  Reader reader = { .iotlb = iotlb };
  pthread_t threads[2];

  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    g_assert_cmpint (
        pthread_create (&threads[i], NULL, read_all_the_time, &reader), ==, 0);
  for (guint round = 0; round < 2000; round++) {
    guint64 iova = (round * 7 % 64) * PAGE;

    if (round % 3 == 0)
      vd_iotlb_invalidate (iotlb, iova, iova + 4 * PAGE - 1);
    else
      update (iotlb, iova, PAGE, iova + 0x40000000, RW);
  }
  atomic_store (&reader.end, true);
  for (guint i = 0; i < G_N_ELEMENTS (threads); i++)
    pthread_join (threads[i], NULL);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/iotlb/ends", test_entries_translate_to_their_ends);
  g_test_add_func ("/iotlb/access", test_what_is_missing_of_an_access_is_told);
  g_test_add_func ("/iotlb/add-up", test_permissions_of_one_translation_add_up);
  g_test_add_func ("/iotlb/another",
                   test_another_translation_takes_no_permission_over);
  g_test_add_func ("/iotlb/overlap",
                   test_an_update_replaces_all_that_it_overlaps);
  g_test_add_func ("/iotlb/limits",
                   test_the_ends_of_the_address_space_are_addresses);
  g_test_add_func ("/iotlb/invalidate",
                   test_invalidation_takes_every_entry_that_it_touches);
  g_test_add_func ("/iotlb/flood", test_a_flood_of_entries_stays_bounded);
  g_test_add_func ("/iotlb/ranges", test_ranges_are_found_across_entries);
  g_test_add_func ("/iotlb/model", test_random_changes_agree_with_a_model);
  g_test_add_func ("/iotlb/threads", test_queues_read_while_control_writes);
  return g_test_run ();
}
