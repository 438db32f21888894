/* SPDX-License-Identifier: BSD-3-Clause */
#include "vring/file.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#define HUGETLBFS_MAGIC 0x958458f6

const char *
vd_file_check (int fd, guint64 offset, guint64 size, struct stat *ret_stat,
               guint64 *ret_page)
{
  guint64 page = (guint64) sysconf (_SC_PAGESIZE), len;
  struct statfs fs;
  struct stat st;

  if (fstat (fd, &st) < 0 || fstatfs (fd, &fs) < 0)
    return g_strerror (errno);
  if (!S_ISREG (st.st_mode))
    return "its descriptor is not a file";
  if (fs.f_type == HUGETLBFS_MAGIC)
    page = (guint64) fs.f_bsize;
  len = ((guint64) st.st_size + page - 1) / page * page;
  if (offset > len || size > len - offset)
    return "it ends beyond its file";
  *ret_stat = st;
  *ret_page = page;
  return NULL;
}

const char *
vd_file_map_part (int fd, guint64 offset, guint64 size, VdFilePart *ret)
{
  const char *wrong;
  struct stat st;
  guint64 page, start;
  void *mapping;
  VdGuard *guard;
  gsize len;

  wrong = vd_file_check (fd, offset, size, &st, &page);
  if (wrong != NULL)
    return wrong;
  start = offset / page * page;
  len = (offset + size - start + page - 1) / page * page;
  mapping = mmap (NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                  fd, (off_t) start);
  if (mapping == MAP_FAILED)
    return g_strerror (errno);
  guard = vd_guard_new (mapping, len);
  if (guard == NULL) {
    munmap (mapping, len);
    return "there are too many mappings";
  }
  *ret = (VdFilePart){ (guint8 *) mapping + (offset - start), mapping, len,
                       guard };
  return NULL;
}

void
vd_file_unmap_part (VdFilePart *part)
{
  vd_guard_free (part->guard);
  munmap (part->mapping, part->len);
}
