/* SPDX-License-Identifier: BSD-3-Clause
 *
 * load-fs.c - the folder that the workloads of a shared directory run in
 *
 * It stays when the run is broken off.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/load-fs.h"

#define SPAN      (64ull << 20)
#define MAX_WRITE (128u << 10)

static void
must (int result, const char *what)
{
  if (result < 0)
    g_error ("%s: %s", what, g_strerror (-result));
}

/* Returns: the nodeid of a new file of @len bytes in folder @parent, which stays
 * open. */
static guint64
make_file (VbFolder *folder, guint64 parent, const char *name, guint64 len,
           guint64 *fh)
{
  g_autofree guint8 *bytes = g_malloc0 (MAX_WRITE);
  VtFuse *fuse = &folder->fuse;
  guint64 nodeid;

  must (
      vt_fuse_create (fuse, parent, name, O_RDWR | O_CREAT, 0644, &nodeid, fh),
      name);
  for (guint64 at = 0; at < len; at += MAX_WRITE)
    must ((int) vt_fuse_write (fuse, nodeid, *fh, at, bytes,
                               (guint32) MIN (len - at, MAX_WRITE)),
          name);
  return nodeid;
}

static void
file_name (char *name, guint index)
{
  g_snprintf (name, VB_FS_NAME_LEN, "f%u", index);
}

static void
folder_name (char *name, guint index)
{
  g_snprintf (name, VB_FS_NAME_LEN, "d%u", index);
}

/* Makes file number @index, closed. */
static guint64
make_small_file (VbFolder *folder, guint64 parent, guint index)
{
  char name[VB_FS_NAME_LEN];
  guint64 nodeid, fh;

  file_name (name, index);
  nodeid = make_file (folder, parent, name, VB_FS_FILE_LEN, &fh);
  must (vt_fuse_release (&folder->fuse, nodeid, fh), name);
  return nodeid;
}

/* A file that is opened tells whether the back-end wants FLUSH. */
static void
make_files (VbFolder *folder)
{
  struct fuse_flush_in in = { 0 };

  folder->files = g_new (guint64, folder->n_files);
  for (guint i = 0; i < folder->n_files; i++)
    folder->files[i] = make_small_file (folder, folder->nodeid, i);
  must (vt_fuse_open (&folder->fuse, folder->files[0], O_RDONLY, &in.fh, NULL),
        "f0");
  folder->no_flush = vt_fuse_call (&folder->fuse, FUSE_FLUSH, folder->files[0],
                                   &in, sizeof in, NULL, 0, NULL, 0) == -ENOSYS;
  must (vt_fuse_release (&folder->fuse, folder->files[0], in.fh), "f0");
}

static void
make_tree (VbFolder *folder)
{
  guint64 nodeids[VB_FS_FOLDERS];
  char name[VB_FS_NAME_LEN];

  for (guint i = 0; i < VB_FS_FOLDERS; i++) {
    folder_name (name, i);
    must (
        vt_fuse_mkdir (&folder->fuse, folder->nodeid, name, 0755, &nodeids[i]),
        name);
  }
  for (guint i = 0; i < folder->n_files; i++)
    make_small_file (folder, nodeids[i % VB_FS_FOLDERS], i);
}

/* Waits until the long file is on the disk, whose writing would disturb. */
static void
sync_data (VbFolder *folder)
{
  const struct fuse_fsync_in in = { .fh = folder->data_fh };

  must ((int) vt_fuse_call (&folder->fuse, FUSE_FSYNC, folder->data_nodeid, &in,
                            sizeof in, NULL, 0, NULL, 0),
        "data");
}

static void
make_data (VbFolder *folder, gboolean direct)
{
  VtFuse *fuse = &folder->fuse;

  folder->data_nodeid =
      make_file (folder, folder->nodeid, "data", folder->n_blocks * folder->bs,
                 &folder->data_fh);
  if (!direct)
    return;
  sync_data (folder);
  must (vt_fuse_release (fuse, folder->data_nodeid, folder->data_fh), "data");
  must (vt_fuse_open (fuse, folder->data_nodeid, O_RDWR | O_DIRECT,
                      &folder->data_fh, NULL),
        "data");
}

/* Enters the folder @path, or makes one. */
static void
enter (VbFolder *folder, const char *path)
{
  VtFuse *fuse = &folder->fuse;
  struct fuse_attr attr;

  folder->made = path == NULL;
  if (folder->made) {
    g_snprintf (folder->name, sizeof folder->name, "vbench-%d",
                (int) getpid ());
    must (
        vt_fuse_mkdir (fuse, FUSE_ROOT_ID, folder->name, 0755, &folder->nodeid),
        folder->name);
  } else
    must (vt_fuse_lookup (fuse, FUSE_ROOT_ID, path, &folder->nodeid, &attr),
          path);
}

static gpointer
open_folder (VtFrontend *fe, const VbWork *work, const VbOptions *options)
{
  guint64 span = options->span != 0 ? options->span : SPAN;
  VbFolder *folder = g_new0 (VbFolder, 1);

  folder->bs = options->bs;
  folder->n_blocks = MAX (span / options->bs, 1);
  folder->n_files = options->files;
  folder->n_queues = options->queues;
  folder->depth = options->depth;
  folder->needs = options->folder == NULL ? work->needs : 0;
  if (options->folder != NULL && work != &vb_fs_list)
    g_error ("--folder is for the mix 'list' alone");
  vt_fuse_init_client (&folder->fuse, fe->rings[1]);
  must (vt_fuse_init (&folder->fuse, 0), "FUSE_INIT");
  enter (folder, options->folder);
  if (folder->needs & VB_FS_FILES)
    make_files (folder);
  if (folder->needs & VB_FS_TREE)
    make_tree (folder);
  if (folder->needs & VB_FS_DATA)
    make_data (folder, options->direct);
  return folder;
}

static void
remove_tree (VbFolder *folder)
{
  guint64 nodeids[VB_FS_FOLDERS];
  char name[VB_FS_NAME_LEN];
  struct fuse_attr attr;

  for (guint i = 0; i < VB_FS_FOLDERS; i++) {
    folder_name (name, i);
    must (vt_fuse_lookup (&folder->fuse, folder->nodeid, name, &nodeids[i],
                          &attr),
          name);
  }
  for (guint i = 0; i < folder->n_files; i++) {
    file_name (name, i);
    vt_fuse_unlink (&folder->fuse, nodeids[i % VB_FS_FOLDERS], name);
  }
  for (guint i = 0; i < VB_FS_FOLDERS; i++) {
    folder_name (name, i);
    vt_fuse_rmdir (&folder->fuse, folder->nodeid, name);
  }
}

static void
remove_files (VbFolder *folder)
{
  char name[VB_FS_NAME_LEN];

  for (guint i = 0; i < folder->n_files; i++) {
    file_name (name, i);
    vt_fuse_unlink (&folder->fuse, folder->nodeid, name);
  }
}

static void
remove_data (VbFolder *folder)
{
  vt_fuse_release (&folder->fuse, folder->data_nodeid, folder->data_fh);
  vt_fuse_unlink (&folder->fuse, folder->nodeid, "data");
}

/* What the workload "rename" has left, by one of its names. */
static void
remove_renamed (VbFolder *folder)
{
  char name[VB_FS_NAME_LEN];

  for (guint lane = 0; lane < folder->n_queues; lane++)
    for (guint i = 0; i < folder->depth; i++) {
      g_snprintf (name, VB_FS_NAME_LEN, "r%u-%u", lane, i);
      vt_fuse_unlink (&folder->fuse, folder->nodeid, name);
      g_strlcat (name, "x", sizeof name);
      vt_fuse_unlink (&folder->fuse, folder->nodeid, name);
    }
}

static void
close_folder (gpointer data)
{
  VbFolder *folder = data;

  if (folder->needs & VB_FS_DATA)
    remove_data (folder);
  if (folder->needs & VB_FS_TREE)
    remove_tree (folder);
  if (folder->needs & VB_FS_FILES)
    remove_files (folder);
  if (folder->made) {
    remove_renamed (folder);
    vt_fuse_rmdir (&folder->fuse, FUSE_ROOT_ID, folder->name);
  }
  g_free (folder->files);
  g_free (folder);
}

static const VbWork *const works[] = {
  &vb_fs_stat,
  &vb_fs_negative,
  &vb_fs_open,
  &vb_fs_create,
  &vb_fs_rename,
  &vb_fs_small_read,
  &vb_fs_list,
  &vb_fs_tree,
  &vb_fs_randread,
  &vb_fs_randwrite,
  &vb_fs_read,
  &vb_fs_write,
  NULL,
};

const VbKind vb_fs = {
  .name = "fs",
  .first_ring = 1, /* 0 is for urgent requests */
  .works = works,
  .open = open_folder,
  .close = close_folder,
};
