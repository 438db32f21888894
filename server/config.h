/* SPDX-License-Identifier: BSD-3-Clause
 *
 * config.h - what the user asked for: options of the program, and its devices
 *
 * The command line and the key-files it names become one list of devices, all
 * of it checked, before anything is opened.  CONTROL.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "devices/device.h"
#include "server/config-source.h"
#include "server/seccomp-filter.h"

typedef enum {
  VD_SOCKET_LISTEN,  /* bind path and listen */
  VD_SOCKET_CONNECT, /* connect to path, again and again */
  VD_SOCKET_FD,      /* use an inherited descriptor, listening or connected */
} VdSocketRole;

typedef struct {
  VdSocketRole role;
  char *path;  /* absolute, fits sockaddr_un; NULL for VD_SOCKET_FD */
  int fd;      /* VD_SOCKET_FD: its number, else -1 */
  mode_t mode; /* VD_SOCKET_LISTEN: permissions of the socket */
  gid_t group; /* VD_SOCKET_LISTEN: its group; (gid_t) -1: leave it */
} VdSocketConfig;

/* One device.  Constant; refcounted, because a running device's id is its
 * config's, while a reload makes a new list. */
typedef struct {
  gint n_refs;
  char *id; /* unique in the list */
  const VdDeviceOps *ops;
  VdOptions *options; /* checked by vd_device_check() */
  VdSocketConfig socket;
} VdDeviceConfig;

VdDeviceConfig *vd_device_config_ref (VdDeviceConfig *config);
void vd_device_config_unref (VdDeviceConfig *config); /* NULL is fine */

typedef struct {
  gboolean check;        /* --check: print vd_server_config_to_text() */
  gboolean list_devices; /* --list-devices: print vd_list_devices() */
  gboolean version;      /* --version */
  gboolean once;         /* --once: end when a front-end leaves */
  GPtrArray *devices;    /* VdDeviceConfig, in the order of the command line and
                          * of the files; empty with the last two options */
  char *runtime_dir;     /* of [virtiod]; NULL: not given */
  VdSeccompMode seccomp; /* AUTO: not given */

  /* Private: what a reload reads again. */
  const VdDeviceOps *const *registry;
  GPtrArray *sources; /* VdConfigSource, in the order of the command line */
  char *cwd;          /* when the program started */
  VdSeccompMode seccomp_option; /* of the command line, before any file's */
} VdServerConfig;

/* Reads the command line and the files it names.  Handles --help itself.
 * @registry: (transfer none): all kinds, NULL-ended and static
 * @argc, @argv: (inout): as of main(); what is understood is removed
 * Returns: (transfer full): the configuration, or NULL with @error set to one
 * line that names the file, group, key and value of the first mistake. */
VdServerConfig *
vd_server_config_parse (const VdDeviceOps *const *registry, int *argc,
                        char ***argv, GError **error);

/* Reads the files of the same command line again, for SIGHUP.  @old stays as it
 * is.  Returns: (transfer full): as vd_server_config_parse(). */
VdServerConfig *
vd_server_config_reload (const VdServerConfig *old, GError **error);

void vd_server_config_free (VdServerConfig *config); /* NULL is fine */

/* Returns: (transfer none) (nullable): the device of that id. */
VdDeviceConfig *
vd_server_config_find (const VdServerConfig *config, const char *id);

/* Returns: (transfer full): all devices as one key-file, which gives the same
 * devices when it is read; paths are absolute. */
char *vd_server_config_to_text (const VdServerConfig *config);

/* The keys of the [virtiod] group. */
extern const VdKey vd_server_keys[];

/* Returns: (transfer full): for each kind its help and its keys, with types,
 * defaults and help, from the tables; and the keys of [virtiod]. */
char *vd_list_devices (const VdDeviceOps *const *registry);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdDeviceConfig, vd_device_config_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (VdServerConfig, vd_server_config_free)
