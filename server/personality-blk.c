/* SPDX-License-Identifier: BSD-3-Clause
 *
 * personality-blk.c - the options that programs which start a vhost-user-blk
 * back-end give it (QEMU's docs/interop/vhost-user.rst, "Backend program
 * conventions")
 */
#include "server/personality.h"

#include <string.h>

typedef struct {
  char *socket_path, *blk_file;
  int fd; /* -1: not given */
  gboolean read_only, print_capabilities;
} Options;

static void
options_clear (Options *options)
{
  g_free (options->socket_path);
  g_free (options->blk_file);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Options, options_clear)

static gboolean
parse (Options *options, int argc, char *const *argv, GError **error)
{
  const GOptionEntry entries[] = {
    { "socket-path", 's', 0, G_OPTION_ARG_FILENAME, &options->socket_path,
      "Listen on this socket", "PATH" },
    { "fd", 'f', 0, G_OPTION_ARG_INT, &options->fd,
      "Serve this inherited socket", "N" },
    { "blk-file", 'b', 0, G_OPTION_ARG_FILENAME, &options->blk_file,
      "File, block device or nbd:// URI of the disk", "PATH" },
    { "read-only", 'r', 0, G_OPTION_ARG_NONE, &options->read_only,
      "The guest may only read", NULL },
    { "print-capabilities", 'c', 0, G_OPTION_ARG_NONE,
      &options->print_capabilities, "Say as JSON what this program can do",
      NULL },
    { 0 },
  };
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);
  g_auto (GStrv) words = g_new0 (char *, argc + 1);

  for (int i = 0; i < argc; i++)
    words[i] = g_strdup (argv[i]);
  g_option_context_add_main_entries (context, entries, NULL);
  if (!g_option_context_parse_strv (context, &words, error))
    return FALSE;
  if (words[0] == NULL || words[1] == NULL)
    return TRUE;
  g_set_error (error, VD_PERSONALITY_ERROR, VD_PERSONALITY_ERROR_OPTION,
               "%s: not an option; --help shows all", words[1]);
  return FALSE;
}

static gboolean
check (const Options *options, GError **error)
{
  const char *missing = NULL;

  if ((options->fd >= 0) == (options->socket_path != NULL))
    missing = "give either --socket-path or --fd";
  else if (options->blk_file == NULL)
    missing = "give --blk-file";
  if (missing != NULL)
    g_set_error_literal (error, VD_PERSONALITY_ERROR,
                         VD_PERSONALITY_ERROR_OPTION, missing);
  return missing == NULL;
}

static void
append_path (GString *text, const char *key, const char *path)
{
  g_autofree char *absolute = strstr (path, "://") != NULL
                                  ? g_strdup (path)
                                  : g_canonicalize_filename (path, NULL);
  g_auto (GStrv) parts = g_strsplit (absolute, ",", -1);
  g_autofree char *quoted = g_strjoinv (",,", parts);

  g_string_append_printf (text, ",%s=%s", key, quoted);
}

/* Returns: (transfer full): the --device of virtiod. */
static char *
device_text (const Options *options)
{
  GString *text = g_string_new ("blk,id=virtiod-blk");

  if (options->socket_path != NULL)
    append_path (text, "socket", options->socket_path);
  else
    g_string_append_printf (text, ",socket=fd:%d", options->fd);
  append_path (text, "image", options->blk_file);
  if (options->read_only)
    g_string_append (text, ",read-only=yes");
  return g_string_free (text, FALSE);
}

VdPersonality *
vd_personality_blk_new (int argc, char *const *argv, GError **error)
{
  g_autoptr (VdPersonality) personality = g_new0 (VdPersonality, 1);
  g_auto (Options) options = { .fd = -1 };

  personality->argv = g_ptr_array_new_with_free_func (g_free);
  personality->notes = g_ptr_array_new_with_free_func (g_free);
  personality->log_level = G_LOG_LEVEL_MESSAGE;
  if (!parse (&options, argc, argv, error))
    return NULL;
  if (options.print_capabilities) {
    personality->text = g_strdup ("{\n"
                                  "  \"type\": \"block\",\n"
                                  "  \"features\": [\n"
                                  "    \"read-only\",\n"
                                  "    \"blk-file\"\n"
                                  "  ]\n"
                                  "}\n");
    return g_steal_pointer (&personality);
  }
  if (!check (&options, error))
    return NULL;
  g_ptr_array_add (personality->argv, g_strdup ("virtiod"));
  g_ptr_array_add (personality->argv, g_strdup ("--device"));
  g_ptr_array_add (personality->argv, device_text (&options));
  /* Nobody can connect to an inherited socket again. */
  if (options.fd >= 0)
    g_ptr_array_add (personality->argv, g_strdup ("--once"));
  g_ptr_array_add (personality->argv, NULL);
  return g_steal_pointer (&personality);
}
