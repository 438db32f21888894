/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nearest.c - optimal string alignment distance, for "did you mean"
 */
#include "devices/nearest.h"

#include <string.h>

/* Longer words are not compared; no key is near this. */
#define WORD_MAX 64

static guint
edit_distance (const char *a, const char *b)
{
  gsize n_a = strlen (a), n_b = strlen (b);
  guint rows[3][WORD_MAX + 1];
  guint *before = rows[0], *last = rows[1], *now = rows[2];

  if (n_a > WORD_MAX || n_b > WORD_MAX)
    return G_MAXUINT;
  for (gsize j = 0; j <= n_b; j++)
    last[j] = (guint) j;
  for (gsize i = 1; i <= n_a; i++) {
    guint *spare = before;

    now[0] = (guint) i;
    for (gsize j = 1; j <= n_b; j++) {
      guint replace = last[j - 1] + (a[i - 1] != b[j - 1]);

      now[j] = MIN (MIN (last[j], now[j - 1]) + 1, replace);
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        now[j] = MIN (now[j], before[j - 2] + 1);
    }
    before = last;
    last = now;
    now = spare;
  }
  return last[n_b];
}

const char *
vd_nearest (const char *word, const char *const *known)
{
  guint best = (guint) MAX (2, strlen (word) / 3) + 1;
  const char *found = NULL;

  for (; *known != NULL; known++) {
    guint distance = edit_distance (word, *known);

    /* As many edits as letters would turn any word into any other. */
    if (distance < best && distance < strlen (*known)) {
      best = distance;
      found = *known;
    }
  }
  return found;
}
