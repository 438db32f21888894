/* SPDX-License-Identifier: BSD-3-Clause
 *
 * main.c - arguments to configuration to server
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "build-options.h"
#include "server/config.h"
#include "server/log.h"
#include "server/personality.h"
#include "server/server.h"

static int
fail (const GError *error)
{
  fprintf (stderr, "virtiod: %s\n", error->message);
  return EXIT_FAILURE;
}

static void
print (char *text)
{
  fputs (text, stdout);
  g_free (text);
}

static int
run (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VdServerConfig) config = NULL;
  g_autoptr (VdServer) server = NULL;

  config = vd_server_config_parse (vd_registry, &argc, &argv, &error);
  if (config == NULL)
    return fail (error);
  if (config->version)
    puts ("virtiod " VD_VERSION);
  else if (config->list_devices)
    print (vd_list_devices (vd_registry));
  else if (config->check)
    print (vd_server_config_to_text (config));
  else {
    server = vd_server_new (g_steal_pointer (&config), &error);
    if (server == NULL)
      return fail (error);
    vd_personality_ready ();
    vd_server_run (server);
  }
  return EXIT_SUCCESS;
}

/* Under the name of virtiofsd. */
static int
run_translated (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (VdPersonality) personality =
      vd_personality_new (argc, argv, &error);
  g_autofree char **words = NULL;

  if (personality == NULL)
    return fail (error);
  if (personality->text != NULL) {
    fputs (personality->text, stdout);
    return EXIT_SUCCESS;
  }
  if (!vd_personality_begin (personality, &error))
    return fail (error);
  /* A copy, because what is understood is removed. */
  words = g_memdup2 (personality->argv->pdata,
                     personality->argv->len * sizeof *words);
  return run ((int) personality->argv->len - 1, words);
}

int
main (int argc, char **argv)
{
  vd_log_init ();
  signal (SIGPIPE, SIG_IGN); /* a peer may leave at any time */
  return vd_personality_applies (argv[0]) ? run_translated (argc, argv)
                                          : run (argc, argv);
}
