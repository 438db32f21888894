/* SPDX-License-Identifier: BSD-3-Clause
 *
 * posix.h - cases that show how a file system behaves
 *
 * The same program runs on the host's own directory and in a guest over
 * virtio-fs; a case says what happened, not whether that is right, so the two
 * outputs must be equal (fs-posix.sh).  Nothing of it may depend on time, inode
 * numbers or what else the file system has.
 */
#pragma once

#include <sys/types.h>

/* A case runs in an empty directory of its own, as root. */
typedef struct {
  const char *name;
  void (*run) (void);
} Case;

extern const Case name_cases[], attr_cases[], data_cases[], lock_cases[];

/* Adds "WHAT=ok" or "WHAT=ENAME" to the result: of a system call that returned
 * @r, with errno.  Returns: @r. */
long try_ (const char *what, long r);
/* Adds "WHAT=NUMBER". */
void say (const char *what, long long number);
void say_octal (const char *what, unsigned number);
void say_text (const char *what, const char *text);

/* Runs @func in a child as user and group @id, with no other groups; what it
 * says is added. */
void as_user (unsigned id, void (*func) (void));

/* Makes a file with @text.  Returns: open for reading and writing. */
int make (const char *name, const char *text);
/* Adds what @name contains. */
void say_content (const char *name);
/* Adds type, permissions, links and size of @name, itself a link or not. */
void say_stat (const char *name);
