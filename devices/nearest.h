/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nearest.h - the known word that a mistyped one most likely stands for
 */
#pragma once

#include <glib.h>

/* @known: NULL-ended
 * Returns: (nullable): the word of @known with the fewest single-letter edits
 * (insert, delete, replace, swap of neighbours) from @word; NULL if none is
 * near enough to be what was meant. */
const char *vd_nearest (const char *word, const char *const *known);
