/* SPDX-License-Identifier: BSD-3-Clause
 *
 * socket-config.c - "PATH", "connect:PATH" and "fd:N"
 */
#define G_LOG_DOMAIN "virtiod"

#include "server/socket-config.h"

#include <grp.h>
#include <string.h>
#include <sys/un.h>

#define SUN_PATH_MAX (sizeof (((struct sockaddr_un *) NULL)->sun_path) - 1)

/* Returns: the length of a prefix like "connect:"; 0: a path. */
static gsize
scheme_len (const char *text)
{
  gsize len = strspn (text, G_CSET_a_2_z);

  return len > 0 && text[len] == ':' ? len + 1 : 0;
}

static gboolean
has_scheme (const char *text, const char *scheme)
{
  return scheme_len (text) == strlen (scheme) &&
         g_str_has_prefix (text, scheme);
}

void
vd_socket_config_resolve (VdConfigItem *item, const char *runtime_dir)
{
  const char *base = runtime_dir != NULL ? runtime_dir : item->base_dir;

  for (guint i = 0; i < item->pairs->len; i++) {
    VdConfigPair *pair = g_ptr_array_index (item->pairs, i);
    g_autofree char *path = NULL;
    char *whole;
    gsize scheme;

    if (strcmp (pair->key, "socket") != 0 || has_scheme (pair->value, "fd:"))
      continue;
    scheme = scheme_len (pair->value);
    if (pair->value[scheme] == '\0')
      continue;
    path = g_canonicalize_filename (pair->value + scheme, base);
    pair->value[scheme] = '\0';
    whole = g_strconcat (pair->value, path, NULL);
    g_free (pair->value);
    pair->value = whole;
  }
}

static gboolean
parse_path (const VdOptions *options, const char *text, VdSocketConfig *socket,
            GError **error)
{
  if (*text == '\0') {
    vd_options_set_error (options, "socket", error, "the path is empty");
    return FALSE;
  }
  if (strlen (text) > SUN_PATH_MAX) {
    vd_options_set_error (options, "socket", error,
                          "the path of a socket has at most %zu bytes",
                          SUN_PATH_MAX);
    return FALSE;
  }
  socket->path = g_strdup (text);
  return TRUE;
}

static gboolean
parse_fd (const VdOptions *options, const char *text, VdSocketConfig *socket,
          GError **error)
{
  guint64 fd;

  if (!g_ascii_string_to_unsigned (text, 10, 0, G_MAXINT, &fd, NULL)) {
    vd_options_set_error (options, "socket", error,
                          "not fd:N with the number of a descriptor");
    return FALSE;
  }
  socket->fd = (int) fd;
  return TRUE;
}

static gboolean
parse_address (const VdOptions *options, VdSocketConfig *socket, GError **error)
{
  const char *text = vd_options_string (options, "socket");
  gsize scheme = scheme_len (text);

  if (scheme == 0) {
    socket->role = VD_SOCKET_LISTEN;
    return parse_path (options, text, socket, error);
  }
  if (has_scheme (text, "connect:")) {
    socket->role = VD_SOCKET_CONNECT;
    return parse_path (options, text + scheme, socket, error);
  }
  if (has_scheme (text, "fd:")) {
    socket->role = VD_SOCKET_FD;
    return parse_fd (options, text + scheme, socket, error);
  }
  vd_options_set_error (options, "socket", error,
                        "not PATH, connect:PATH or fd:N (a path with a colon "
                        "begins with '/' or './')");
  return FALSE;
}

static gboolean
parse_mode (const VdOptions *options, VdSocketConfig *socket, GError **error)
{
  const char *text = vd_options_string (options, "socket-mode");
  gsize len = strlen (text);

  if (len == 0 || len > 4 || strspn (text, "01234567") != len ||
      (len == 4 && text[0] != '0')) {
    vd_options_set_error (options, "socket-mode", error,
                          "not octal permissions, 0000 to 0777");
    return FALSE;
  }
  socket->mode = (mode_t) g_ascii_strtoull (text, NULL, 8);
  return TRUE;
}

static gboolean
parse_group (const VdOptions *options, VdSocketConfig *socket, GError **error)
{
  const char *text = vd_options_string (options, "socket-group");
  const struct group *group;
  guint64 number;

  if (text == NULL)
    return TRUE;
  group = getgrnam (text);
  if (group != NULL) {
    socket->group = group->gr_gid;
    return TRUE;
  }
  if (!g_ascii_string_to_unsigned (text, 10, 0, G_MAXUINT32 - 1, &number,
                                   NULL)) {
    vd_options_set_error (options, "socket-group", error, "no such group");
    return FALSE;
  }
  socket->group = (gid_t) number;
  return TRUE;
}

gboolean
vd_socket_config_parse (const VdOptions *options, VdSocketConfig *ret,
                        GError **error)
{
  VdSocketConfig socket = { .fd = -1, .group = (gid_t) -1 };

  if (!parse_mode (options, &socket, error) ||
      !parse_group (options, &socket, error) ||
      !parse_address (options, &socket, error))
    return FALSE;
  *ret = socket;
  return TRUE;
}
