/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/blk.h"

static gboolean
device_writes (const VtBlkRequest *request)
{
  guint32 type = GUINT32_FROM_LE (request->header->type);

  return type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
}

VtBlkRequest *
vt_blk_request_new (VtGuest *guest, guint32 type, guint64 sector,
                    guint32 data_len)
{
  VtBlkRequest *request = g_new0 (VtBlkRequest, 1);

  request->header = vt_guest_alloc (guest, sizeof *request->header, 8);
  request->header->type = GUINT32_TO_LE (type);
  request->header->sector = GUINT64_TO_LE (sector);
  request->data = vt_guest_alloc (guest, data_len, 512);
  request->data_len = data_len;
  request->status = vt_guest_alloc (guest, 1, 1);
  return request;
}

gboolean
vt_blk_add (VtRing *ring, VtBlkRequest *request)
{
  VtBuf bufs[3];
  guint n = 0;

  bufs[n++] = (VtBuf){ request->header, sizeof *request->header, FALSE };
  if (request->data_len)
    bufs[n++] =
        (VtBuf){ request->data, request->data_len, device_writes (request) };
  bufs[n++] = (VtBuf){ request->status, 1, TRUE };
  *request->status = VT_BLK_NO_STATUS;
  return vt_ring_add (ring, bufs, n, request);
}

guint8
vt_blk_run (VtRing *ring, VtBlkRequest *request)
{
  guint32 written;

  g_assert_true (vt_blk_add (ring, request));
  vt_ring_kick (ring);
  g_assert_true (vt_ring_take (ring, &written) == request);
  /* The length counts from the start of the data: a failed read may not have
   * come to the status behind it (virtio 1.3, 2.7.8). */
  if (!device_writes (request))
    g_assert_cmpuint (written, ==, 1);
  else if (*request->status == VIRTIO_BLK_S_OK)
    g_assert_cmpuint (written, ==, request->data_len + 1);
  return *request->status;
}

#define SCRATCH_DATA 512 /* header and status are before it */

/* @out, @in: data to write or where to put what was read; NULL: none. */
static guint8
run_once (VtRing *ring, guint32 type, guint64 sector, const void *out, void *in,
          guint32 data_len)
{
  guint8 *memory = vt_ring_scratch (ring, SCRATCH_DATA + data_len);
  VtBlkRequest request = { .header = (void *) memory,
                           .status = memory + sizeof *request.header,
                           .data = memory + SCRATCH_DATA,
                           .data_len = data_len };
  guint8 status;

  *request.header =
      (struct virtio_blk_outhdr){ .type = GUINT32_TO_LE (type),
                                  .sector = GUINT64_TO_LE (sector) };
  if (out)
    memcpy (request.data, out, data_len);
  status = vt_blk_run (ring, &request);
  if (in)
    memcpy (in, request.data, data_len);
  return status;
}

guint8
vt_blk_read (VtRing *ring, guint64 sector, void *data, guint32 data_len)
{
  return run_once (ring, VIRTIO_BLK_T_IN, sector, NULL, data, data_len);
}

guint8
vt_blk_write (VtRing *ring, guint64 sector, const void *data, guint32 data_len)
{
  return run_once (ring, VIRTIO_BLK_T_OUT, sector, data, NULL, data_len);
}

guint8
vt_blk_flush (VtRing *ring)
{
  return run_once (ring, VIRTIO_BLK_T_FLUSH, 0, NULL, NULL, 0);
}
