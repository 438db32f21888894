/* SPDX-License-Identifier: BSD-3-Clause
 *
 * test-mailbox.c - what vring/mailbox.c promises
 */
#include "vring/mailbox.h"

#include <poll.h>
#include <pthread.h>

#include "tests/lib/socket.h"

#define N_SENDERS 4
#define N_MAILS   20000 /* of each sender */

typedef struct {
  VdMail mail;
  guint sender, number;
  guint *next; /* number expected from each sender */
} Letter;

static void
run_letter (VdMail *mail)
{
  Letter *letter = (Letter *) (void *) mail;

  g_assert_cmpuint (letter->number, ==, letter->next[letter->sender]);
  letter->next[letter->sender]++;
}

static gboolean
is_readable (VdMailbox *box)
{
  struct pollfd pfd = { .fd = vd_mailbox_fd (box), .events = POLLIN };

  return poll (&pfd, 1, 0) > 0;
}

static void
test_mail_runs_in_order (void)
{
  g_autoptr (VdMailbox) box = vd_mailbox_new ();
  Letter letters[5];
  guint next = 0;

  g_assert_cmpuint (vd_mailbox_drain (box), ==, 0);
  g_assert_false (is_readable (box));
  for (guint i = 0; i < 5; i++) {
    letters[i] = (Letter){ { .run = run_letter }, 0, i, &next };
    vd_mailbox_post (box, &letters[i].mail);
    g_assert_true (is_readable (box));
  }
  g_assert_cmpuint (next, ==, 0); /* not on the sender's thread */
  g_assert_cmpuint (vd_mailbox_drain (box), ==, 5);
  g_assert_cmpuint (next, ==, 5);
  g_assert_false (is_readable (box));
}

typedef struct {
  VdMail mail;
  VdMailbox *box;
  guint n_runs;
} Again;

static void
run_again (VdMail *mail)
{
  Again *again = (Again *) (void *) mail;

  if (++again->n_runs < 3)
    vd_mailbox_post (again->box, mail);
}

static void
test_mail_may_post_itself_again (void)
{
  g_autoptr (VdMailbox) box = vd_mailbox_new ();
  Again again = { { .run = run_again }, box, 0 };

  vd_mailbox_post (box, &again.mail);
  for (guint i = 1; i <= 3; i++) {
    g_assert_true (is_readable (box));
    g_assert_cmpuint (vd_mailbox_drain (box), ==, 1); /* the rest is later */
    g_assert_cmpuint (again.n_runs, ==, i);
  }
  g_assert_false (is_readable (box));
}

typedef struct {
  VdMailbox *box;
  Letter *letters;
} Sender;

static void *
send_all (void *data)
{
  Sender *sender = data;

  for (guint i = 0; i < N_MAILS; i++)
    vd_mailbox_post (sender->box, &sender->letters[i].mail);
  return NULL;
}

/* The owner sleeps whenever there is no mail, so a lost wake-up would stop it:
 * the last mail of all senders has to arrive. */
static void
test_no_wake_up_is_lost (void)
{
  g_autoptr (VdMailbox) box = vd_mailbox_new ();
  g_autofree Letter *letters = g_new0 (Letter, N_SENDERS * N_MAILS);
  pthread_t threads[N_SENDERS];
  Sender senders[N_SENDERS];
  guint next[N_SENDERS] = { 0 }, done = 0;

  for (guint s = 0; s < N_SENDERS; s++) {
    senders[s] = (Sender){ box, letters + s * N_MAILS };
    for (guint i = 0; i < N_MAILS; i++)
      senders[s].letters[i] = (Letter){ { .run = run_letter }, s, i, next };
    pthread_create (&threads[s], NULL, send_all, &senders[s]);
  }
  while (done < N_SENDERS * N_MAILS) {
    g_assert_true (vt_wait_readable (vd_mailbox_fd (box), VT_TIMEOUT_MS));
    done += vd_mailbox_drain (box);
  }
  for (guint s = 0; s < N_SENDERS; s++)
    pthread_join (threads[s], NULL);
  g_assert_cmpuint (vd_mailbox_drain (box), ==, 0);
}

static void *
send_one (void *data)
{
  Sender *sender = data;

  vd_mailbox_post (sender->box, &sender->letters->mail);
  return NULL;
}

/* An owner that looks without having been woken may take mail whose wake-up is
 * still on its way.  A main loop must not spin on that wake-up for ever. */
static void
test_late_wake_up_is_taken_back (void)
{
  g_autoptr (VdMailbox) box = vd_mailbox_new ();

  for (guint round = 0; round < 2000; round++) {
    guint next = 0;
    Letter letter = { { .run = run_letter }, 0, 0, &next };
    Sender sender = { box, &letter };
    pthread_t thread;

    pthread_create (&thread, NULL, send_one, &sender);
    while (vd_mailbox_drain (box) == 0)
      ;
    pthread_join (thread, NULL);
    vd_mailbox_drain (box);
    g_assert_false (is_readable (box));
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/mailbox/order", test_mail_runs_in_order);
  g_test_add_func ("/mailbox/again", test_mail_may_post_itself_again);
  g_test_add_func ("/mailbox/wake-up", test_no_wake_up_is_lost);
  g_test_add_func ("/mailbox/late-wake-up", test_late_wake_up_is_taken_back);
  return g_test_run ();
}
