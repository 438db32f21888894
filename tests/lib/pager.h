/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pager.h - a front-end's side of a postcopy migration, for tests: it keeps a
 * guest's memory back and brings each page when a back-end waits for it
 */
#pragma once

#include "tests/lib/frontend.h"

#define VT_PAGE 4096u

typedef struct VtPager VtPager;

/* Whether this system permits userfaultfd to tests, and so to the daemon. */
gboolean vt_pager_is_permitted (void);

/* @guest: (transfer none): with one region */
VtPager *vt_pager_new (VtGuest *guest);
/* Ends its thread and closes its descriptors; NULL is fine. */
void vt_pager_free (VtPager *pager);

/* Takes all that was written to memory away, except from its own copy.  Until it
 * was brought, or vt_pager_bring_all(), the test must not touch a page. */
void vt_pager_take_away (VtPager *pager);

/* POSTCOPY_ADVISE, and POSTCOPY_LISTEN.  @fe must have acked PAGEFAULT. */
void vt_pager_advise (VtPager *pager, VtFrontend *fe);
void vt_pager_listen (VtPager *pager, VtFrontend *fe);

/* Shares the memory by SET_MEM_TABLE or ADD_MEM_REG, checks the reply and, if
 * wanted, acks it. */
void
vt_pager_share (VtPager *pager, VtFrontend *fe, gboolean table, gboolean ack);
void vt_pager_ack (VtPager *pager, VtFrontend *fe, gboolean table);

/* Begins to bring pages, except that of @held (NULL: none). */
void vt_pager_start (VtPager *pager, const void *held);
/* Waits until a back-end waits for the page of @held; then brings it. */
void vt_pager_wait_held (VtPager *pager);
void vt_pager_release (VtPager *pager);
/* Brings the rest, which no back-end waits for. */
void vt_pager_bring_all (VtPager *pager);

/* Returns: pages that a back-end waited for and got. */
guint vt_pager_n_brought (VtPager *pager);

/* Closes the descriptors of all back-ends, as the end of a front-end does. */
void vt_pager_close (VtPager *pager);

/* POSTCOPY_END.  Returns: its status. */
guint64 vt_postcopy_end (VtFrontend *fe);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VtPager, vt_pager_free)
