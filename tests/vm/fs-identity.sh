#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# fs-identity.sh - users, ACLs, set-id bits and extended attributes of a real
# guest on the host, for a daemon that is root and one that is nobody in
# particular
. "$(dirname "$0")/lib.sh"

vm_need daemon uml setpriv setfacl getfacl setfattr getfattr
vm_programs+=(setpriv setfacl getfacl setfattr getfattr)
ordinary=65534
mkdir "$work"/{plain,mapped,kernel,ordinary}
chmod 711 "$work"
chown 100000:100000 "$work/kernel"
chown -R $ordinary:$ordinary "$work/ordinary"
mkdir "$work/ordinary/share"
chown $ordinary:$ordinary "$work/ordinary/share"
chmod 777 "$work"/{plain,mapped,kernel} "$work/ordinary/share"
is_root=$([ "$(id -u)" = 0 ] && echo yes || echo no)

# Runs shell command $2 in guest $1 as user 1000 with group 555 beside its own.
as_user() {
  guest "$1" "/sbin/setpriv --reuid 1000 --regid 1000 --groups 555 sh -c '$2'"
}

mounts() {
  local tag
  guest "$1" 'chmod 755 / && chmod 666 /dev/null'
  for tag in "${@:2}"; do
    guest "$1" "mkdir -p /mnt/$tag && mount -t virtiofs $tag /mnt/$tag"
  done
}

# What the mode and owner of file $1 on the host are.
owner_of() {
  stat -c '%a %u:%g' "$1"
}

user_is_who_it_is() {
  same "$(as_user uml 'id -u; id -G')" "1000
1000 555" "who the guest's user is"
}

modes_keep_users_out() {
  guest uml 'echo x >/mnt/plain/secret; chmod 600 /mnt/plain/secret'
  as_user uml '! cat /mnt/plain/secret 2>/dev/null'
  guest uml 'chmod 644 /mnt/plain/secret'
  same "$(as_user uml 'cat /mnt/plain/secret')" x
}

new_files_have_their_user() {
  as_user uml 'umask 027; echo x >/mnt/plain/mine; mkdir /mnt/plain/dir; ln -s x /mnt/plain/link'
  same "$(owner_of "$work/plain/mine")" '640 1000:1000' file
  same "$(owner_of "$work/plain/dir")" '750 1000:1000' directory
  same "$(stat -c %u:%g "$work/plain/link")" 1000:1000 link
}

acls_are_enforced() {
  guest uml 'echo x >/mnt/plain/acl; chmod 600 /mnt/plain/acl'
  as_user uml '! cat /mnt/plain/acl 2>/dev/null'
  guest uml 'setfacl -m u:1000:r /mnt/plain/acl'
  same "$(as_user uml 'cat /mnt/plain/acl')" x
  as_user uml '! sh -c "echo y >/mnt/plain/acl" 2>/dev/null'
  getfacl -n "$work/plain/acl" 2>/dev/null | grep -qx 'user:1000:r--'
}

# A default ACL takes the place of the umask.
default_acls_are_inherited() {
  guest uml 'mkdir /mnt/plain/inherit; setfacl -d -m u::rwx,g::rx,o::-,u:1000:rwx /mnt/plain/inherit'
  guest uml '(umask 077; echo x >/mnt/plain/inherit/file; mkdir /mnt/plain/inherit/dir)'
  getfacl -n "$work/plain/inherit/file" 2>/dev/null | grep -q '^user:1000:rw'
  getfacl -n "$work/plain/inherit/dir" 2>/dev/null | grep -qx 'default:user:1000:rwx'
  as_user uml 'echo y >>/mnt/plain/inherit/file'
  same "$(cat "$work/plain/inherit/file")" $'x\ny'
}

# Makes program $1 in share plain, set-user-id.
set_id_file() {
  guest uml "echo 0123456789 >/mnt/plain/$1; chmod 6777 /mnt/plain/$1"
  same "$(owner_of "$work/plain/$1")" '6777 0:0' "before"
}

set_id_ends_with_a_write() {
  set_id_file s1
  as_user uml 'echo x >>/mnt/plain/s1'
  same "$(owner_of "$work/plain/s1")" '777 0:0' "after writing"
  set_id_file s2
  as_user uml 'truncate -s 3 /mnt/plain/s2'
  same "$(owner_of "$work/plain/s2")" '777 0:0' "after truncation"
  set_id_file s3
  as_user uml 'echo x >/mnt/plain/s3'
  same "$(owner_of "$work/plain/s3")" '777 0:0' "after opening with truncation"
  set_id_file s4
  as_user uml 'fallocate -l 8192 /mnt/plain/s4'
  same "$(owner_of "$work/plain/s4")" '777 0:0' "after allocation"
  set_id_file s5
  guest uml 'chown 1000 /mnt/plain/s5'
  same "$(owner_of "$work/plain/s5")" '777 1000:0' "after a change of owner"
  set_id_file s6
  guest uml 'echo x >>/mnt/plain/s6'
  same "$(owner_of "$work/plain/s6")" '6777 0:0' "after writing as root"
}

# The user is in group 555 only by the way, and its file in such a directory may
# be set-group-id.
supplementary_groups_count() {
  guest uml 'mkdir /mnt/plain/g555 /mnt/plain/g556'
  guest uml 'chgrp 555 /mnt/plain/g555; chgrp 556 /mnt/plain/g556; chmod 2777 /mnt/plain/g55?'
  as_user uml 'cd /mnt/plain; mkdir g555/dir g556/dir; echo x >g556/f; chmod 2755 g556/f'
  same "$(owner_of "$work/plain/g555/dir")" '2755 1000:555'
  same "$(owner_of "$work/plain/g556/dir")" '2755 1000:556'
  same "$(owner_of "$work/plain/g556/f")" '755 1000:556' 'set-gid of a foreign group'
}

attributes_pass() {
  guest uml 'cd /mnt/plain; echo x >attr; setfattr -n user.a -v 1 attr; setfattr -n trusted.b -v 2 attr; cd /'
  same "$(getfattr --absolute-names --only-values -n user.a "$work/plain/attr" 2>/dev/null)" 1
  same "$(getfattr --absolute-names --only-values -n trusted.b "$work/plain/attr" 2>/dev/null)" 2
  setfattr -n user.c -v 3 "$work/plain/attr"
  same "$(guest uml 'getfattr --absolute-names --only-values -n user.c /mnt/plain/attr')" 3
  as_user uml '! setfattr -n trusted.d -v 4 /mnt/plain/attr 2>/dev/null'
}

attributes_are_mapped() {
  setfattr -n user.host -v h "$work/mapped" 
  guest uml 'cd /mnt/mapped; echo x >attr; chmod 666 attr; setfattr -n trusted.overlay.opaque -v y attr; cd /'
  same "$(getfattr --absolute-names --only-values -n user.guest.trusted.overlay.opaque "$work/mapped/attr" 2>/dev/null)" y
  same "$(guest uml 'getfattr --absolute-names --only-values -n trusted.overlay.opaque /mnt/mapped/attr')" y
  guest uml 'getfattr -d -m - /mnt/mapped/attr | grep -q ^trusted.overlay.opaque='
  guest uml '! getfattr -d -m - /mnt/mapped | grep host'
  # Its own root may; a user of the guest has no back door to it.
  as_user uml 'setfattr -n user.guest.trusted.overlay.opaque -v n /mnt/mapped/attr'
  same "$(guest uml 'getfattr --absolute-names --only-values -n trusted.overlay.opaque /mnt/mapped/attr')" y
}

# The guest's kernel would grant the capabilities to whatever the file is now.
mapped_capabilities_end_with_a_write() {
  guest uml 'cd /mnt/mapped; echo x >caps; chmod 777 caps
    setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 caps'
  guest uml 'getfattr -n security.capability /mnt/mapped/caps >/dev/null'
  as_user uml 'echo evil >>/mnt/mapped/caps'
  guest uml 'cd /; ! getfattr -n security.capability /mnt/mapped/caps 2>/dev/null'
}

users_are_translated() {
  as_user uml "echo x >/mnt/$1/mine"
  same "$(stat -c %u:%g "$work/$1/mine")" "$2" "on the host"
  same "$(guest uml "stat -c %u:%g /mnt/$1/mine")" 1000:1000 "in the guest"
  guest uml "echo x >/mnt/$1/root; chown 5:6 /mnt/$1/root"
  same "$(guest uml "stat -c %u:%g /mnt/$1/root")" 5:6 "in the guest, after chown"
  as_user uml "! sh -c \"echo y >>/mnt/$1/root\" 2>/dev/null"
}

# ACLs name users, too.
acls_are_translated() {
  guest uml "echo x >/mnt/$1/acl; chmod 600 /mnt/$1/acl; setfacl -m u:1000:rw /mnt/$1/acl"
  as_user uml "echo y >>/mnt/$1/acl"
  guest uml "getfacl -n /mnt/$1/acl 2>/dev/null | grep -qx user:1000:rw-"
  getfacl -n "$work/$1/acl" 2>/dev/null | grep -qx "user:$2:rw-"
}

ordinary_user_serves() {
  guest uml 'echo x >/mnt/ordinary/file; mkdir /mnt/ordinary/dir'
  same "$(stat -c %u:%g "$work/ordinary/share/file")" $ordinary:$ordinary
  same "$(guest uml 'stat -c %u:%g /mnt/ordinary/file')" 1000:1000 "in the guest"
  as_user uml 'echo y >>/mnt/ordinary/file; mv /mnt/ordinary/file /mnt/ordinary/dir; chmod 600 /mnt/ordinary/dir/file'
  same "$(cat "$work/ordinary/share/dir/file")" $'x\ny'
  # All users of the guest are the one of the host.
  guest uml 'chown 7:8 /mnt/ordinary/dir'
  same "$(guest uml 'stat -c %u:%g /mnt/ordinary/dir')" 1000:1000 "after chown"
  guest uml 'setfattr -n trusted.a -v 1 /mnt/ordinary/dir'
  same "$(getfattr --absolute-names --only-values -n user.guest.trusted.a "$work/ordinary/share/dir" 2>/dev/null)" 1
}

# An ordinary user's read-only share; its mount is read-only, not only the
# daemon's mind.
ordinary_user_is_read_only() {
  same "$(guest uml 'cat /mnt/ordinary-ro/dir/file')" $'x\ny'
  guest uml '! touch /mnt/ordinary-ro/new 2>/dev/null'
  guest uml '! rm -f /mnt/ordinary-ro/dir/file 2>/dev/null'
  [ ! -e "$work/ordinary/share/new" ] && [ -e "$work/ordinary/share/dir/file" ]
}

ordinary_user_says_so() {
  daemon_logged "new files belong to user $ordinary; owners cannot be changed"
}

device() {
  printf '[device %s]\nkind=fs\nsocket=%s\ntag=%s\n' "$1" "$2/$1.sock" "$1"
  cat
  echo
}

if [ "$is_root" = yes ]; then
  daemon_start < <(
    device plain "$work" <<<"source=$work/plain
xattr=yes"
    device mapped "$work" <<<"source=$work/mapped
xattr=yes
xattrmap=:map::user.guest.:
translate-uid=map:0:5000:2000
translate-gid=map:0:6000:2000"
    device kernel "$work" <<<"source=$work/kernel
xattr=yes
idmap=yes
translate-uid=map:0:100000:65536
translate-gid=map:0:100000:65536"
    device translated "$work" <<<"source=$work/plain
xattr=yes
translate-uid=map:0:5000:2000
translate-gid=map:0:6000:2000"
  )
  uml_start uml "$work/plain.sock:26" "$work/mapped.sock:26" "$work/kernel.sock:26" \
    "$work/translated.sock:26"
  check_or_bail "mounts" mounts uml plain mapped kernel
  check_or_bail "the guest's user is an ordinary one" user_is_who_it_is
  check "modes keep users out" modes_keep_users_out
  check "new files have their user, and its umask" new_files_have_their_user
  check "ACLs are enforced, and the host's" acls_are_enforced
  check "default ACLs are inherited in place of the umask" default_acls_are_inherited
  check "set-id bits end with a change by a user" set_id_ends_with_a_write
  check "supplementary groups count" supplementary_groups_count
  check "extended attributes pass" attributes_pass
  check "extended attributes are mapped" attributes_are_mapped
  check "mapped capabilities end with a write" mapped_capabilities_end_with_a_write
  check "users are translated by the daemon" users_are_translated mapped 6000:7000
  check "users are translated by the kernel" users_are_translated kernel 101000:101000
  check "ACLs are translated by the kernel" acls_are_translated kernel 101000
  rm -rf "$work/translated"
  ln -s plain "$work/translated"
  check "mounts the translated share" mounts uml translated
  check "ACLs are translated by the daemon" acls_are_translated translated 6000
  guest_kill_all
  daemon_stop # in this shell, whose child it is
else
  check_skip "a daemon that is root" "needs root"
fi

# The daemon as an ordinary user; the shell is there so that the daemon is a
# child of something.
[ "$(id -u)" != 0 ] || daemon_wrapper=(sh -c '"$@"; exit $?' sh
  setpriv --reuid "$ordinary" --regid "$ordinary" --clear-groups)
daemon_start < <(
  device ordinary "$work/ordinary" <<<"source=$work/ordinary/share
xattr=yes
xattrmap=:map::user.guest.:
translate-uid=squash-guest:0:$ordinary:4294967295 host:$ordinary:1000:1
translate-gid=squash-guest:0:$ordinary:4294967295 host:$ordinary:1000:1"
  device ordinary-ro "$work/ordinary" <<<"source=$work/ordinary/share
read-only=yes"
)
uml_start uml "$work/ordinary/ordinary.sock:26" "$work/ordinary/ordinary-ro.sock:26"
check_or_bail "ordinary user: mounts" mounts uml ordinary ordinary-ro
check "ordinary user: serves as itself" ordinary_user_serves
check "ordinary user: a read-only share refuses every change" ordinary_user_is_read_only
check "ordinary user: says what it cannot do" ordinary_user_says_so
finish
