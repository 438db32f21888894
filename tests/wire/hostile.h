/* SPDX-License-Identifier: BSD-3-Clause
 *
 * hostile.h - attacks on the real daemon, each followed by the same checks
 *
 * One daemon with two disks serves all attacks of a program.  An attack gets a
 * fresh connection to the first disk, the victim, and may do to it whatever it
 * likes; the front-end of the second disk, the witness, behaves well all the
 * time.  After each attack the same process must serve the witness, serve the
 * victim's next front-end, and hold on to no descriptor, thread or mapping more
 * than at the start.
 */
#pragma once

#include "tests/lib/blk.h"
#include "tests/lib/daemon.h"
#include "tests/lib/desc.h"

#define VT_ATTACK_QUEUES 4   /* rings of the victim */
#define VT_ATTACK_RING   128 /* entries of attack->ring */

typedef struct {
  VtDaemon *daemon;
  VtFrontend *fe; /* connected to the victim; nothing was said yet */
  VtGuest *guest; /* one region; the victim does not know it yet */
  VtRing *ring;   /* number 0; not described yet */
} VtAttack;

typedef void (*VtAttackFunc) (VtAttack *attack);

/* How the back-end took a message. */
typedef enum {
  VT_ACKED,  /* success, or a reply of its own */
  VT_NACKED, /* an ack that says failure */
  VT_CLOSED, /* it closed the connection */
} VtOutcome;

/* Adds a test: @func at @path, then the checks. */
void vt_attack_add (const char *path, VtAttackFunc func);
/* The same, but the attack's rings are packed. */
void vt_attack_add_packed (const char *path, VtAttackFunc func);
/* The same, but the victim is a shared folder, empty at first, and the ring is
 * that of its requests. */
void vt_attack_add_folder (const char *path, VtAttackFunc func);

/* Runs them, after g_test_init(); main()'s result. */
int vt_attack_main (void);

/* One write and read of the witness, which must succeed: for attacks that stall
 * in the middle of something. */
void vt_attack_witness (VtAttack *attack);
/* Only one message of its front-end, and its reply. */
void vt_attack_witness_answers (VtAttack *attack);

/* Closes the connection and opens a new one. */
void vt_attack_reconnect (VtAttack *attack);

/* Says all that comes before memory and rings; acks most of what is offered. */
void vt_attack_hello (VtAttack *attack);
/* hello(), then all memory in one table. */
void vt_attack_share (VtAttack *attack);
/* share(), then NUM, BASE, ADDR, CALL and ERR of the ring. */
void vt_attack_describe (VtAttack *attack);
/* describe(), KICK and ENABLE, and one request to see that it works. */
void vt_attack_start (VtAttack *attack);

/* Sends any message with NEED_REPLY and waits for what comes of it. */
VtOutcome vt_attack_try (VtAttack *attack, guint32 request, const void *payload,
                         guint32 size, const int *fds, guint n_fds);

/* The same for the commonest payloads. */
VtOutcome vt_attack_try_u64 (VtAttack *attack, guint32 request, guint64 value,
                             int fd); /* -1: none */
VtOutcome vt_attack_try_state (VtAttack *attack, guint32 request, guint32 index,
                               guint32 num);

/* ADD_MEM_REG or REM_MEM_REG.  @fd: -1: none */
VtOutcome vt_attack_try_slot (VtAttack *attack, guint32 request,
                              const VdWireRegion *region, int fd);

/* Returns: (transfer full): a file that can be guest memory */
int vt_attack_new_file (gsize size);

/* Stops the ring, broken or not, and starts it empty. */
void vt_attack_restart (VtAttack *attack);

/* The device may have failed a request or broken the ring, but not more. */
void vt_attack_settle (VtAttack *attack);

/* The ring broke, which is known by its error descriptor; the connection and
 * the other rings did not, and after a stop the ring works again. */
void vt_attack_expect_broken (VtAttack *attack);

/* Reads a sector through @ring and compares it with the image. */
void vt_attack_read (VtRing *ring, guint64 sector);

/* Runs @request, whose notification may not arrive, until it succeeded. */
void vt_attack_run_uncalled (VtRing *ring, VtBlkRequest *request);

/* Waits until a request came back or the ring broke. */
void vt_attack_wait_settled (VtAttack *attack);

/* The started ring breaks by that chain. */
void
vt_attack_expect_chain_breaks (VtAttack *attack, const VtDesc *descs, guint n);
/* The same with an indirect table of @n entries, said to be @len bytes.
 * @flags: more flags of the descriptor that names it */
void vt_attack_expect_table_breaks (VtAttack *attack, const VtDesc *descs,
                                    guint n, guint32 len, guint16 flags);

/* Returns: the address of a zeroed page of guest memory. */
guint64 vt_attack_page (VtAttack *attack);
/* Returns: the address behind guest memory. */
guint64 vt_attack_memory_end (VtAttack *attack);
