/* SPDX-License-Identifier: BSD-3-Clause
 *
 * socket-config.h - the keys socket, socket-mode and socket-group
 */
#pragma once

#include "server/config.h"

/* Makes a relative path in @item's socket absolute: against @runtime_dir if
 * there is one, else as any path of the item. */
void vd_socket_config_resolve (VdConfigItem *item, const char *runtime_dir);

/* Reads the three keys of checked options whose path is absolute.
 * @ret: (out): socket.path is (transfer full); untouched on failure */
gboolean vd_socket_config_parse (const VdOptions *options, VdSocketConfig *ret,
                                 GError **error);
