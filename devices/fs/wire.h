/* SPDX-License-Identifier: BSD-3-Clause
 *
 * wire.h - the FUSE protocol, version 7.45, as it travels in virtqueues
 *
 * Our own, because the kernel header of the oldest system we build on is 7.38
 * and because a guest may speak any version.  Fields are little-endian like the
 * hosts that we build for; names are those of the kernel's header.
 * No functions here.
 */
#pragma once

#include <assert.h>
#include <glib.h>

#define VD_FUSE_MAJOR     7
#define VD_FUSE_MINOR     45
#define VD_FUSE_MINOR_MIN 27 /* layouts have not changed since */
#define VD_FUSE_ROOT_ID   1

typedef enum {
  VD_FUSE_LOOKUP = 1,
  VD_FUSE_FORGET = 2, /* no reply */
  VD_FUSE_GETATTR = 3,
  VD_FUSE_SETATTR = 4,
  VD_FUSE_READLINK = 5,
  VD_FUSE_SYMLINK = 6,
  VD_FUSE_MKNOD = 8,
  VD_FUSE_MKDIR = 9,
  VD_FUSE_UNLINK = 10,
  VD_FUSE_RMDIR = 11,
  VD_FUSE_RENAME = 12,
  VD_FUSE_LINK = 13,
  VD_FUSE_OPEN = 14,
  VD_FUSE_READ = 15,
  VD_FUSE_WRITE = 16,
  VD_FUSE_STATFS = 17,
  VD_FUSE_RELEASE = 18,
  VD_FUSE_FSYNC = 20,
  VD_FUSE_SETXATTR = 21,
  VD_FUSE_GETXATTR = 22,
  VD_FUSE_LISTXATTR = 23,
  VD_FUSE_REMOVEXATTR = 24,
  VD_FUSE_FLUSH = 25,
  VD_FUSE_INIT = 26,
  VD_FUSE_OPENDIR = 27,
  VD_FUSE_READDIR = 28,
  VD_FUSE_RELEASEDIR = 29,
  VD_FUSE_FSYNCDIR = 30,
  VD_FUSE_GETLK = 31,
  VD_FUSE_SETLK = 32,
  VD_FUSE_SETLKW = 33,
  VD_FUSE_ACCESS = 34,
  VD_FUSE_CREATE = 35,
  VD_FUSE_INTERRUPT = 36, /* no reply */
  VD_FUSE_BMAP = 37,
  VD_FUSE_DESTROY = 38,
  VD_FUSE_IOCTL = 39,
  VD_FUSE_POLL = 40,
  VD_FUSE_NOTIFY_REPLY = 41,
  VD_FUSE_BATCH_FORGET = 42, /* no reply */
  VD_FUSE_FALLOCATE = 43,
  VD_FUSE_READDIRPLUS = 44,
  VD_FUSE_RENAME2 = 45,
  VD_FUSE_LSEEK = 46,
  VD_FUSE_COPY_FILE_RANGE = 47,
  VD_FUSE_SETUPMAPPING = 48,
  VD_FUSE_REMOVEMAPPING = 49,
  VD_FUSE_SYNCFS = 50,
  VD_FUSE_TMPFILE = 51,
  VD_FUSE_STATX = 52,
  VD_FUSE_COPY_FILE_RANGE_64 = 53,
  VD_FUSE_N_OPCODES
} VdFuseOp;

/* INIT flags; bits 32 and up travel in flags2 if INIT_EXT is set. */
#define VD_FUSE_ASYNC_READ           (1ull << 0)
#define VD_FUSE_POSIX_LOCKS          (1ull << 1)
#define VD_FUSE_ATOMIC_O_TRUNC       (1ull << 3)
#define VD_FUSE_EXPORT_SUPPORT       (1ull << 4)
#define VD_FUSE_BIG_WRITES           (1ull << 5)
#define VD_FUSE_DONT_MASK            (1ull << 6)
#define VD_FUSE_FLOCK_LOCKS          (1ull << 10)
#define VD_FUSE_HAS_IOCTL_DIR        (1ull << 11)
#define VD_FUSE_AUTO_INVAL_DATA      (1ull << 12)
#define VD_FUSE_DO_READDIRPLUS       (1ull << 13)
#define VD_FUSE_READDIRPLUS_AUTO     (1ull << 14)
#define VD_FUSE_ASYNC_DIO            (1ull << 15)
#define VD_FUSE_WRITEBACK_CACHE      (1ull << 16)
#define VD_FUSE_NO_OPEN_SUPPORT      (1ull << 17)
#define VD_FUSE_PARALLEL_DIROPS      (1ull << 18)
#define VD_FUSE_HANDLE_KILLPRIV      (1ull << 19)
#define VD_FUSE_POSIX_ACL            (1ull << 20)
#define VD_FUSE_MAX_PAGES            (1ull << 22)
#define VD_FUSE_CACHE_SYMLINKS       (1ull << 23)
#define VD_FUSE_NO_OPENDIR_SUPPORT   (1ull << 24)
#define VD_FUSE_EXPLICIT_INVAL_DATA  (1ull << 25)
#define VD_FUSE_MAP_ALIGNMENT        (1ull << 26)
#define VD_FUSE_SUBMOUNTS            (1ull << 27)
#define VD_FUSE_HANDLE_KILLPRIV_V2   (1ull << 28)
#define VD_FUSE_SETXATTR_EXT         (1ull << 29)
#define VD_FUSE_INIT_EXT             (1ull << 30)
#define VD_FUSE_SECURITY_CTX         (1ull << 32)
#define VD_FUSE_HAS_INODE_DAX        (1ull << 33)
#define VD_FUSE_CREATE_SUPP_GROUP    (1ull << 34)
#define VD_FUSE_HAS_EXPIRE_ONLY      (1ull << 35)
#define VD_FUSE_DIRECT_IO_ALLOW_MMAP (1ull << 36)
#define VD_FUSE_PASSTHROUGH          (1ull << 37)
#define VD_FUSE_NO_EXPORT_SUPPORT    (1ull << 38)
#define VD_FUSE_HAS_RESEND           (1ull << 39)
#define VD_FUSE_ALLOW_IDMAP          (1ull << 40)
#define VD_FUSE_OVER_IO_URING        (1ull << 41)
#define VD_FUSE_REQUEST_TIMEOUT      (1ull << 42)

/* VdFuseSetattrIn.valid */
#define VD_FATTR_MODE         (1u << 0)
#define VD_FATTR_UID          (1u << 1)
#define VD_FATTR_GID          (1u << 2)
#define VD_FATTR_SIZE         (1u << 3)
#define VD_FATTR_ATIME        (1u << 4)
#define VD_FATTR_MTIME        (1u << 5)
#define VD_FATTR_FH           (1u << 6)
#define VD_FATTR_ATIME_NOW    (1u << 7)
#define VD_FATTR_MTIME_NOW    (1u << 8)
#define VD_FATTR_LOCKOWNER    (1u << 9)
#define VD_FATTR_CTIME        (1u << 10)
#define VD_FATTR_KILL_SUIDGID (1u << 11)

/* VdFuseOpenOut.open_flags */
#define VD_FOPEN_DIRECT_IO              (1u << 0)
#define VD_FOPEN_KEEP_CACHE             (1u << 1)
#define VD_FOPEN_CACHE_DIR              (1u << 3)
#define VD_FOPEN_NOFLUSH                (1u << 5)
#define VD_FOPEN_PARALLEL_DIRECT_WRITES (1u << 6)

#define VD_FUSE_GETATTR_FH             (1u << 0) /* GETATTR and STATX */
#define VD_FUSE_WRITE_CACHE            (1u << 0) /* write_flags */
#define VD_FUSE_WRITE_KILL_SUIDGID     (1u << 2)
#define VD_FUSE_OPEN_KILL_SUIDGID      (1u << 0) /* OpenIn, CreateIn */
#define VD_FUSE_IOCTL_COMPAT           (1u << 0) /* VdFuseIoctlIn.flags */
#define VD_FUSE_IOCTL_UNRESTRICTED     (1u << 1)
#define VD_FUSE_FSYNC_FDATASYNC        (1u << 0) /* fsync_flags */
#define VD_FUSE_SETXATTR_ACL_KILL_SGID (1u << 0) /* setxattr_flags */
#define VD_FUSE_ATTR_SUBMOUNT          (1u << 0) /* VdFuseAttr.flags */
#define VD_FUSE_ATTR_DAX               (1u << 1)

/* Types of VdFuseExtHeader; 0 to 31 are so many security contexts. */
#define VD_FUSE_SECCTX_MAX 31
#define VD_FUSE_EXT_GROUPS 32

typedef struct {
  guint32 len; /* bytes of the whole message */
  guint32 opcode;
  guint64 unique;
  guint64 nodeid;
  guint32 uid;
  guint32 gid;
  guint32 pid;
  guint16 total_extlen; /* of extensions at the end, in units of 8 bytes */
  guint16 padding;
} VdFuseInHeader;
static_assert (sizeof (VdFuseInHeader) == 40, "fuse_in_header");

typedef struct {
  guint32 len;  /* bytes of the whole reply; the used length must equal it */
  gint32 error; /* 0 or -errno */
  guint64 unique;
} VdFuseOutHeader;
static_assert (sizeof (VdFuseOutHeader) == 16, "fuse_out_header");

typedef struct {
  guint32 size; /* bytes, with this header, a multiple of 8 */
  guint32 type;
} VdFuseExtHeader;
static_assert (sizeof (VdFuseExtHeader) == 8, "fuse_ext_header");

typedef struct {
  guint32 size; /* bytes of the context, behind a NUL-ended name */
  guint32 padding;
} VdFuseSecctx;
static_assert (sizeof (VdFuseSecctx) == 8, "fuse_secctx");

typedef struct {
  guint64 ino;
  guint64 size;
  guint64 blocks; /* of 512 bytes */
  guint64 atime, mtime, ctime;
  guint32 atimensec, mtimensec, ctimensec;
  guint32 mode;
  guint32 nlink;
  guint32 uid, gid;
  guint32 rdev;
  guint32 blksize;
  guint32 flags; /* VD_FUSE_ATTR_* */
} VdFuseAttr;
static_assert (sizeof (VdFuseAttr) == 88, "fuse_attr");

typedef struct {
  guint64 nodeid; /* 0: there is none, and that may be cached */
  guint64 generation;
  guint64 entry_valid, attr_valid; /* seconds */
  guint32 entry_valid_nsec, attr_valid_nsec;
  VdFuseAttr attr;
} VdFuseEntryOut;
static_assert (sizeof (VdFuseEntryOut) == 128, "fuse_entry_out");

typedef struct {
  guint64 attr_valid;
  guint32 attr_valid_nsec;
  guint32 dummy;
  VdFuseAttr attr;
} VdFuseAttrOut;
static_assert (sizeof (VdFuseAttrOut) == 104, "fuse_attr_out");

typedef struct {
  guint32 major;
  guint32 minor;
  guint32 max_readahead;
  guint32 flags;
  guint32 flags2; /* only if flags has INIT_EXT; shorter messages lack it */
  guint32 unused[11];
} VdFuseInitIn;
static_assert (sizeof (VdFuseInitIn) == 64, "fuse_init_in");
#define VD_FUSE_INIT_IN_OLD 16 /* bytes before INIT_EXT */

typedef struct {
  guint32 major;
  guint32 minor;
  guint32 max_readahead;
  guint32 flags;
  guint16 max_background;
  guint16 congestion_threshold;
  guint32 max_write;
  guint32 time_gran;
  guint16 max_pages;
  guint16 map_alignment;
  guint32 flags2;
  guint32 max_stack_depth;
  guint16 request_timeout;
  guint16 unused[11];
} VdFuseInitOut;
static_assert (sizeof (VdFuseInitOut) == 64, "fuse_init_out");

typedef struct {
  guint64 nlookup;
} VdFuseForgetIn;
static_assert (sizeof (VdFuseForgetIn) == 8, "fuse_forget_in");

typedef struct {
  guint64 nodeid;
  guint64 nlookup;
} VdFuseForgetOne;
static_assert (sizeof (VdFuseForgetOne) == 16, "fuse_forget_one");

typedef struct {
  guint32 count; /* of VdFuseForgetOne that follow */
  guint32 dummy;
} VdFuseBatchForgetIn;
static_assert (sizeof (VdFuseBatchForgetIn) == 8, "fuse_batch_forget_in");

typedef struct {
  guint64 unique;
} VdFuseInterruptIn;
static_assert (sizeof (VdFuseInterruptIn) == 8, "fuse_interrupt_in");

typedef struct {
  guint32 getattr_flags;
  guint32 dummy;
  guint64 fh;
} VdFuseGetattrIn;
static_assert (sizeof (VdFuseGetattrIn) == 16, "fuse_getattr_in");

typedef struct {
  guint32 valid;
  guint32 padding;
  guint64 fh;
  guint64 size;
  guint64 lock_owner;
  guint64 atime, mtime, ctime;
  guint32 atimensec, mtimensec, ctimensec;
  guint32 mode;
  guint32 unused4;
  guint32 uid, gid;
  guint32 unused5;
} VdFuseSetattrIn;
static_assert (sizeof (VdFuseSetattrIn) == 88, "fuse_setattr_in");

typedef struct {
  guint32 mode;
  guint32 rdev;
  guint32 umask;
  guint32 padding;
} VdFuseMknodIn;
static_assert (sizeof (VdFuseMknodIn) == 16, "fuse_mknod_in");

typedef struct {
  guint32 mode;
  guint32 umask;
} VdFuseMkdirIn;
static_assert (sizeof (VdFuseMkdirIn) == 8, "fuse_mkdir_in");

typedef struct {
  guint64 newdir;
} VdFuseRenameIn;
static_assert (sizeof (VdFuseRenameIn) == 8, "fuse_rename_in");

typedef struct {
  guint64 newdir;
  guint32 flags;
  guint32 padding;
} VdFuseRename2In;
static_assert (sizeof (VdFuseRename2In) == 16, "fuse_rename2_in");

typedef struct {
  guint64 oldnodeid;
} VdFuseLinkIn;
static_assert (sizeof (VdFuseLinkIn) == 8, "fuse_link_in");

typedef struct {
  guint32 flags;
  guint32 open_flags;
} VdFuseOpenIn;
static_assert (sizeof (VdFuseOpenIn) == 8, "fuse_open_in");

typedef struct {
  guint32 flags;
  guint32 mode;
  guint32 umask;
  guint32 open_flags;
} VdFuseCreateIn;
static_assert (sizeof (VdFuseCreateIn) == 16, "fuse_create_in");

typedef struct {
  guint64 fh;
  guint32 open_flags;
  guint32 padding;
} VdFuseOpenOut;
static_assert (sizeof (VdFuseOpenOut) == 16, "fuse_open_out");

typedef struct {
  guint64 fh;
  guint32 flags;
  guint32 release_flags;
  guint64 lock_owner;
} VdFuseReleaseIn;
static_assert (sizeof (VdFuseReleaseIn) == 24, "fuse_release_in");

typedef struct {
  guint64 fh;
  guint32 unused;
  guint32 padding;
  guint64 lock_owner;
} VdFuseFlushIn;
static_assert (sizeof (VdFuseFlushIn) == 24, "fuse_flush_in");

typedef struct {
  guint64 fh;
  guint64 offset;
  guint32 size;
  guint32 read_flags;
  guint64 lock_owner;
  guint32 flags; /* of the open file, O_* */
  guint32 padding;
} VdFuseReadIn; /* also READDIR and READDIRPLUS */
static_assert (sizeof (VdFuseReadIn) == 40, "fuse_read_in");

typedef struct {
  guint64 fh;
  guint64 offset;
  guint32 size;
  guint32 write_flags;
  guint64 lock_owner;
  guint32 flags; /* of the open file, O_* */
  guint32 padding;
} VdFuseWriteIn;
static_assert (sizeof (VdFuseWriteIn) == 40, "fuse_write_in");

typedef struct {
  guint32 size;
  guint32 padding;
} VdFuseWriteOut; /* also COPY_FILE_RANGE */
static_assert (sizeof (VdFuseWriteOut) == 8, "fuse_write_out");

typedef struct {
  guint64 blocks, bfree, bavail;
  guint64 files, ffree;
  guint32 bsize;
  guint32 namelen;
  guint32 frsize;
  guint32 padding;
  guint32 spare[6];
} VdFuseStatfsOut;
static_assert (sizeof (VdFuseStatfsOut) == 80, "fuse_statfs_out");

typedef struct {
  guint64 fh;
  guint32 fsync_flags;
  guint32 padding;
} VdFuseFsyncIn;
static_assert (sizeof (VdFuseFsyncIn) == 16, "fuse_fsync_in");

typedef struct {
  guint32 size;
  guint32 flags;
  guint32 setxattr_flags; /* only if SETXATTR_EXT was negotiated */
  guint32 padding;
} VdFuseSetxattrIn;
static_assert (sizeof (VdFuseSetxattrIn) == 16, "fuse_setxattr_in");
#define VD_FUSE_SETXATTR_IN_OLD 8 /* bytes without SETXATTR_EXT */

typedef struct {
  guint32 size; /* 0: how much is there? */
  guint32 padding;
} VdFuseGetxattrIn; /* also LISTXATTR; the answer looks the same */
static_assert (sizeof (VdFuseGetxattrIn) == 8, "fuse_getxattr_in");

typedef struct {
  guint64 start;
  guint64 end;  /* inclusive; G_MAXINT64: to the end */
  guint32 type; /* F_RDLCK, F_WRLCK, F_UNLCK */
  guint32 pid;
} VdFuseFileLock;
static_assert (sizeof (VdFuseFileLock) == 24, "fuse_file_lock");

typedef struct {
  guint64 fh;
  guint64 owner;
  VdFuseFileLock lk;
  guint32 lk_flags; /* bit 0: of flock(2) */
  guint32 padding;
} VdFuseLkIn; /* GETLK, SETLK and SETLKW */
static_assert (sizeof (VdFuseLkIn) == 48, "fuse_lk_in");

typedef struct {
  VdFuseFileLock lk;
} VdFuseLkOut;
static_assert (sizeof (VdFuseLkOut) == 24, "fuse_lk_out");

typedef struct {
  guint64 fh;
  guint32 flags; /* VD_FUSE_IOCTL_* */
  guint32 cmd;
  guint64 arg;
  guint32 in_size; /* bytes that follow */
  guint32 out_size;
} VdFuseIoctlIn;
static_assert (sizeof (VdFuseIoctlIn) == 32, "fuse_ioctl_in");

typedef struct {
  gint32 result;
  guint32 flags;
  guint32 in_iovs;
  guint32 out_iovs;
} VdFuseIoctlOut;
static_assert (sizeof (VdFuseIoctlOut) == 16, "fuse_ioctl_out");

typedef struct {
  guint32 mask;
  guint32 padding;
} VdFuseAccessIn;
static_assert (sizeof (VdFuseAccessIn) == 8, "fuse_access_in");

typedef struct {
  guint64 fh;
  guint64 offset;
  guint64 length;
  guint32 mode;
  guint32 padding;
} VdFuseFallocateIn;
static_assert (sizeof (VdFuseFallocateIn) == 32, "fuse_fallocate_in");

typedef struct {
  guint64 fh;
  guint64 offset;
  guint32 whence;
  guint32 padding;
} VdFuseLseekIn;
static_assert (sizeof (VdFuseLseekIn) == 24, "fuse_lseek_in");

typedef struct {
  guint64 offset;
} VdFuseLseekOut;
static_assert (sizeof (VdFuseLseekOut) == 8, "fuse_lseek_out");

typedef struct {
  guint64 fh_in;
  guint64 off_in;
  guint64 nodeid_out;
  guint64 fh_out;
  guint64 off_out;
  guint64 len;
  guint64 flags;
} VdFuseCopyFileRangeIn;
static_assert (sizeof (VdFuseCopyFileRangeIn) == 56, "fuse_copy_file_range_in");

typedef struct {
  guint64 bytes_copied;
} VdFuseCopyFileRangeOut; /* COPY_FILE_RANGE_64 */
static_assert (sizeof (VdFuseCopyFileRangeOut) == 8,
               "fuse_copy_file_range_out");

typedef struct {
  guint64 fh;      /* or VD_FUSE_NO_FH */
  guint64 foffset; /* bytes into the file */
  guint64 len;
  guint64 flags;   /* VD_FUSE_SETUPMAPPING_* */
  guint64 moffset; /* bytes into the window */
} VdFuseSetupmappingIn;
static_assert (sizeof (VdFuseSetupmappingIn) == 40, "fuse_setupmapping_in");
#define VD_FUSE_NO_FH              G_MAXUINT64 /* what Linux sends there */
#define VD_FUSE_SETUPMAPPING_WRITE (1ull << 0)
#define VD_FUSE_SETUPMAPPING_READ  (1ull << 1)

typedef struct {
  guint32 count; /* of VdFuseRemovemappingOne that follow, unaligned */
} VdFuseRemovemappingIn;
static_assert (sizeof (VdFuseRemovemappingIn) == 4, "fuse_removemapping_in");
#define VD_FUSE_REMOVEMAPPING_MAX 256 /* a page full of them */

typedef struct {
  guint64 moffset;
  guint64 len;
} VdFuseRemovemappingOne;
static_assert (sizeof (VdFuseRemovemappingOne) == 16, "fuse_removemapping_one");

typedef struct {
  guint64 padding;
} VdFuseSyncfsIn;
static_assert (sizeof (VdFuseSyncfsIn) == 8, "fuse_syncfs_in");

typedef struct {
  gint64 tv_sec;
  guint32 tv_nsec;
  gint32 reserved;
} VdFuseSxTime;
static_assert (sizeof (VdFuseSxTime) == 16, "fuse_sx_time");

typedef struct {
  guint32 mask;
  guint32 blksize;
  guint64 attributes;
  guint32 nlink;
  guint32 uid, gid;
  guint16 mode;
  guint16 spare0;
  guint64 ino;
  guint64 size;
  guint64 blocks;
  guint64 attributes_mask;
  VdFuseSxTime atime, btime, ctime, mtime;
  guint32 rdev_major, rdev_minor;
  guint32 dev_major, dev_minor;
  guint64 spare2[14];
} VdFuseStatx;
static_assert (sizeof (VdFuseStatx) == 256, "fuse_statx");

typedef struct {
  guint32 getattr_flags;
  guint32 reserved;
  guint64 fh;
  guint32 sx_flags;
  guint32 sx_mask;
} VdFuseStatxIn;
static_assert (sizeof (VdFuseStatxIn) == 24, "fuse_statx_in");

typedef struct {
  guint64 attr_valid;
  guint32 attr_valid_nsec;
  guint32 flags;
  guint64 spare[2];
  VdFuseStatx stat;
} VdFuseStatxOut;
static_assert (sizeof (VdFuseStatxOut) == 288, "fuse_statx_out");

typedef struct {
  guint64 ino;
  guint64 off; /* where the next READDIR continues */
  guint32 namelen;
  guint32 type; /* DT_* */
  char name[];  /* without NUL, padded to 8 bytes */
} VdFuseDirent;
static_assert (sizeof (VdFuseDirent) == 24, "fuse_dirent");

static_assert (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "FUSE has the guest's byte order, which is taken for ours");
