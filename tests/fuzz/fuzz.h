/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fuzz.h - what fuzz targets share: their entry, and reading of their input
 *
 * A target is one source.  With -Dfuzz=true it is linked with libFuzzer, and
 * else with run-corpus.c, which feeds it every file of its corpus.
 */
#pragma once

#include <glib.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined __has_feature /* clang */
#if __has_feature(address_sanitizer)
#define FZ_ASAN
#endif
#elif defined __SANITIZE_ADDRESS__ /* gcc */
#define FZ_ASAN
#endif
#ifdef FZ_ASAN
#include <sanitizer/asan_interface.h>
#endif

/* AddressSanitizer reports every access to these bytes: what lies behind shared
 * memory in its last page. */
static inline void
fz_forbid (void *at, gsize len)
{
#ifdef FZ_ASAN
  ASAN_POISON_MEMORY_REGION (at, len);
#endif
}

/* Returns: 0; whatever is wrong aborts. */
int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* What is left of an input. */
typedef struct {
  const guint8 *at;
  gsize len; /* bytes */
} FzInput;

/* Takes @len bytes to @to; zeroes stand for those that are missing. */
static inline void
fz_take (FzInput *input, void *to, gsize len)
{
  gsize n = MIN (len, input->len);

  memset (to, 0, len);
  if (n > 0)
    memcpy (to, input->at, n);
  input->at += n;
  input->len -= n;
}

static inline guint8
fz_take_u8 (FzInput *input)
{
  guint8 value;

  fz_take (input, &value, sizeof value);
  return value;
}

/* Takes at most @len bytes where they are. */
static inline FzInput
fz_take_part (FzInput *input, gsize len)
{
  FzInput part = { input->at, MIN (len, input->len) };

  input->at += part.len;
  input->len -= part.len;
  return part;
}
