/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fixture.h - a shared directory served to a client, for tests
 */
#pragma once

#include "tests/devices/fs/fuse-client.h"
#include "tests/lib/rig.h"

#define VT_FS_KEYS   6
#define VT_FS_QUEUES 3

/* How to start; given to g_test_add() as data. */
typedef struct {
  const char *keys[VT_FS_KEYS * 2]; /* key, value, key, value, ... */
  gboolean no_init;                 /* the test sends INIT */
  gboolean force_poll;              /* without io_uring */
  gboolean abroad;                  /* all in threads of the pool */
  guint n_queues;                   /* request queues, 0 for one */
} VtFsConfig;

typedef struct {
  char *dir; /* the shared directory */
  VtGuest *guest;
  VtRig *rig;
  VtRing *rings[VT_FS_QUEUES]; /* 0 is for urgent requests */
  VtFuse fuse[VT_FS_QUEUES];   /* clients of rings */
  VtFuse *c;                   /* of the first request queue */
} VtFs;

void vt_fs_set_up (VtFs *f, gconstpointer config);
void vt_fs_tear_down (VtFs *f, gconstpointer config);

/* Closes the device and opens it again for the same directory. */
void vt_fs_open_again (VtFs *f, gconstpointer config);

/* Begins anew, as a VMM's reset and a booting guest do, without INIT. */
void vt_fs_reboot (VtFs *f);

/* Files below the shared directory, from the host's side. */
void vt_fs_put (VtFs *f, const char *name, const char *content);
char *vt_fs_get (VtFs *f, const char *name); /* (transfer full) (nullable) */
char *vt_fs_path (VtFs *f, const char *name);

/* Whether this is root; if not, the test is marked as skipped. */
gboolean vt_fs_is_root (void);

/* Descriptors that this process has open. */
guint vt_fs_n_fds (void);

/* Looks @name up in the root and opens it; failure fails the test. */
guint64 vt_fs_open (VtFs *f, const char *name, guint32 flags, guint64 *nodeid);

/* Adds a test that runs with @config (static or NULL). */
#define VT_FS_TEST(path, config, func)                                         \
  g_test_add (path, VtFs, config, vt_fs_set_up, func, vt_fs_tear_down)
