/* SPDX-License-Identifier: BSD-3-Clause
 *
 * request.c - parsing and checking of requests
 */
#include "devices/blk/request.h"

#include "devices/blk/image.h"
#include "devices/blk/lifetime.h"
#include "vring/iov.h"

/* Cuts the status, the last writable byte, off the data before it. */
static guint8 *
take_status (VdChain *chain)
{
  guint8 *status = NULL;

  while (chain->n_in > 0) {
    struct iovec *last = &chain->in[chain->n_in - 1];

    if (status == NULL && last->iov_len > 0)
      status = (guint8 *) last->iov_base + --last->iov_len;
    if (last->iov_len > 0)
      break;
    chain->n_in--;
  }
  return status;
}

/* Sums in 64 bits cannot wrap: the first sector is compared with the size of
 * the disk before it is multiplied. */
static int
check_range (const VdBlkLimits *limits, guint64 sector, guint64 len,
             guint64 *ret_offset)
{
  if (sector > limits->size / VD_SECTOR)
    return VIRTIO_BLK_S_IOERR;
  *ret_offset = sector * VD_SECTOR;
  if (len > limits->size - *ret_offset ||
      ((*ret_offset | len) & (limits->align - 1)) != 0)
    return VIRTIO_BLK_S_IOERR;
  return VIRTIO_BLK_S_OK;
}

/* A transfer longer than this cannot be told in a used element. */
static int
check_data (const VdBlkLimits *limits, guint64 sector, guint64 len,
            VdBlkCommand *ret)
{
  if (len >= G_MAXUINT32)
    return VIRTIO_BLK_S_IOERR;
  ret->len = len;
  return check_range (limits, sector, len, &ret->offset);
}

static int
parse_read (VdChain *chain, const VdBlkLimits *limits, guint64 sector,
            VdBlkCommand *ret)
{
  ret->iov = chain->in;
  ret->n_iov = chain->n_in;
  return check_data (limits, sector, chain->in_len - 1, ret);
}

static int
parse_write (VdChain *chain, const VdBlkLimits *limits, guint64 sector,
             VdBlkCommand *ret)
{
  if (limits->read_only)
    return VIRTIO_BLK_S_IOERR;
  ret->iov = chain->out;
  ret->n_iov = chain->n_out;
  return check_data (limits, sector,
                     chain->out_len - sizeof (struct virtio_blk_outhdr), ret);
}

/* The driver asks for at most @len bytes about the disk. */
static int
parse_about (VdChain *chain, guint64 len, VdBlkCommand *ret)
{
  ret->iov = chain->in;
  ret->n_iov = chain->n_in;
  ret->len = MIN (chain->in_len - 1, len);
  return VIRTIO_BLK_S_OK;
}

static int
parse_range (const struct virtio_blk_discard_write_zeroes *from,
             gboolean zeroes, const VdBlkLimits *limits, VdBlkRange *ret)
{
  guint32 flags = GUINT32_FROM_LE (from->flags);
  guint32 n_sectors = GUINT32_FROM_LE (from->num_sectors);

  if (flags & ~(zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0u))
    return VIRTIO_BLK_S_UNSUPP;
  if (n_sectors > VD_BLK_MAX_SECTORS)
    return VIRTIO_BLK_S_IOERR;
  ret->len = (guint64) n_sectors * VD_SECTOR;
  ret->unmap = flags != 0;
  return check_range (limits, GUINT64_FROM_LE (from->sector), ret->len,
                      &ret->offset);
}

static gboolean
is_offered (const VdBlkLimits *limits, guint32 type)
{
  switch (type) {
  case VIRTIO_BLK_T_DISCARD: return limits->discard;
  case VIRTIO_BLK_T_SECURE_ERASE: return limits->secure_erase;
  default: return TRUE;
  }
}

/* All ranges are checked before the first is touched. */
static int
parse_ranges (VdChain *chain, const VdBlkLimits *limits, VdBlkCommand *ret)
{
  struct virtio_blk_discard_write_zeroes raw[VD_BLK_MAX_RANGES];
  gboolean zeroes = ret->type == VIRTIO_BLK_T_WRITE_ZEROES;
  guint64 len = chain->out_len - sizeof (struct virtio_blk_outhdr);
  int status = VIRTIO_BLK_S_OK;

  if (limits->read_only)
    return VIRTIO_BLK_S_IOERR;
  if (!is_offered (limits, ret->type))
    return VIRTIO_BLK_S_UNSUPP;
  if (len == 0 || len > sizeof raw || len % sizeof raw[0] != 0)
    return VIRTIO_BLK_S_IOERR;
  ret->n_ranges = (guint) (len / sizeof raw[0]);
  vd_iov_read (chain->out, chain->n_out, 0, raw, len);
  for (guint i = 0; i < ret->n_ranges && status == VIRTIO_BLK_S_OK; i++)
    status = parse_range (&raw[i], zeroes, limits, &ret->ranges[i]);
  return status;
}

int
vd_blk_parse (VdChain *chain, const VdBlkLimits *limits, VdBlkCommand *ret)
{
  struct virtio_blk_outhdr header;
  guint64 sector;

  ret->type = G_MAXUINT32;
  ret->status = take_status (chain);
  if (ret->status == NULL)
    return VD_BLK_NO_STATUS;
  if (vd_iov_read (chain->out, chain->n_out, 0, &header, sizeof header) <
      sizeof header)
    return VIRTIO_BLK_S_IOERR;
  vd_iov_skip (&chain->out, &chain->n_out, sizeof header);
  ret->type = GUINT32_FROM_LE (header.type);
  sector = GUINT64_FROM_LE (header.sector);
  switch (ret->type) {
  case VIRTIO_BLK_T_IN: return parse_read (chain, limits, sector, ret);
  case VIRTIO_BLK_T_OUT: return parse_write (chain, limits, sector, ret);
  case VIRTIO_BLK_T_FLUSH: return VIRTIO_BLK_S_OK;
  case VIRTIO_BLK_T_GET_ID:
    return parse_about (chain, VIRTIO_BLK_ID_BYTES, ret);
  case VD_BLK_T_GET_LIFETIME:
    return limits->lifetime ? parse_about (chain, sizeof (VdLifetime), ret)
                            : VIRTIO_BLK_S_UNSUPP;
  case VIRTIO_BLK_T_SECURE_ERASE:
  case VIRTIO_BLK_T_DISCARD:
  case VIRTIO_BLK_T_WRITE_ZEROES: return parse_ranges (chain, limits, ret);
  default: return VIRTIO_BLK_S_UNSUPP;
  }
}
