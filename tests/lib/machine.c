/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/machine.h"

#define MIB (1ul << 20)

/* Guest memory as that front-end describes it. */
static VtGuest *
guest_new (VtOrder order)
{
  VtGuest *guest = vt_guest_new (0);

  switch (order) {
  case VT_ORDER_UML_6:
  case VT_ORDER_UML_7: /* after the kernel's image; addresses are the guest's */
    vt_guest_add (guest, 12 * MIB, 12 * MIB, 16 * MIB, 12 * MIB);
    break;
  case VT_ORDER_LIBBLKIO: /* odd sizes; the rings have a region of their own */
    vt_guest_add_identity (guest, 0x47620);
    vt_guest_add_identity (guest, 16 * MIB);
    break;
  default: /* below and above the hole for PCI */
    vt_guest_add (guest, 0, 0x7f3c40000000, 4 * MIB, 0);
    vt_guest_add (guest, 0x100000000, 0x7f3d40000000, 16 * MIB, 0);
    break;
  }
  return guest;
}

VtMachine *
vt_machine_new (VtOrder order, VtRingFlags flags, guint n_rings, guint16 size)
{
  VtMachine *machine = g_new0 (VtMachine, 1);
  VtRegion *data;

  g_assert_cmpuint (n_rings, <=, VT_MACHINE_RINGS);
  machine->order = order;
  machine->guest = guest_new (order);
  machine->n_rings = n_rings;
  data = machine->guest->current;
  machine->guest->current = g_ptr_array_index (machine->guest->regions, 0);
  for (guint i = 0; i < n_rings; i++)
    machine->rings[i] = vt_ring_new (machine->guest, i, size,
                                     flags | vt_order_ring_flags (order));
  machine->guest->current = data;
  return machine;
}

void
vt_machine_free (VtMachine *machine)
{
  if (!machine)
    return;
  vt_frontend_free (machine->fe);
  for (guint i = 0; i < machine->n_rings; i++)
    vt_ring_free (machine->rings[i]);
  vt_guest_free (machine->guest);
  g_free (machine);
}

void
vt_machine_hello (VtMachine *machine, int fd, guint config_len)
{
  g_assert_null (machine->fe);
  machine->fe = vt_frontend_new (fd);
  machine->fe->config_len = config_len;
  vt_frontend_hello (machine->fe, machine->order, machine->guest,
                     machine->rings, machine->n_rings);
}

void
vt_machine_connect (VtMachine *machine, VtDaemon *daemon, const char *id,
                    guint config_len)
{
  g_autofree char *path = vt_daemon_socket (daemon, id);

  vt_machine_hello (machine, vt_connect (path), config_len);
}

void
vt_machine_start (VtMachine *machine)
{
  for (guint i = 0; i < machine->n_rings; i++)
    vt_ring_reset (machine->rings[i], 0);
  vt_frontend_start (machine->fe);
}

void
vt_machine_stop (VtMachine *machine)
{
  guint32 bases[VT_MACHINE_RINGS];

  if (!vt_frontend_stop (machine->fe, bases))
    return;
  for (guint i = 0; i < machine->fe->n_rings; i++)
    g_assert_cmphex (bases[i], ==, vt_ring_base (machine->rings[i]));
}

void
vt_machine_disconnect (VtMachine *machine)
{
  g_clear_pointer (&machine->fe, vt_frontend_free);
}
