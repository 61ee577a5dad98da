"""Who may write a file or folder beside its owner: the bits of its mode, and its POSIX access control list."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

ACCESS = "system.posix_acl_access"
DEFAULT = "system.posix_acl_default"
"""What a folder hands on to the files that are made in it."""

_VERSION = 2
_HEADER, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
GROUP_OBJ = 0x04
"""Tag of the entry of the file's own group."""
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, GROUP_OBJ, 0x08, 0x10, 0x20
_WRITE = 0o2
_NO_LIST = (errno.ENODATA, errno.ENOTSUP, errno.ENOSYS)
"""A file without one, a file system that keeps none, a kernel that knows none."""


class AclEntry(NamedTuple):
    tag: int
    permissions: int
    """Bits as in a mode: read 4, write 2, execute 1."""
    id: int
    """Number of the user or group; no meaning for the others."""


class Writers(NamedTuple):
    """Who may write beside the owner."""

    users: frozenset[int]
    """By a list alone: a mode names nobody."""
    groups: frozenset[int]
    everybody: bool
    by_list: bool
    """Whether there is an access control list; then the group bits of the mode are its mask, and no group's right."""


def parse_acl(value: bytes) -> tuple[AclEntry, ...]:
    """The entries of the kernel's own form. Raises ValueError."""
    if len(value) < _HEADER.size or (len(value) - _HEADER.size) % _ENTRY.size:
        raise ValueError("an access control list of an odd length")
    if _HEADER.unpack_from(value) != (_VERSION,):
        raise ValueError("an access control list of another version")
    return tuple(AclEntry(*entry) for entry in _ENTRY.iter_unpack(value[_HEADER.size :]))


def pack_acl(entries: Iterable[AclEntry]) -> bytes:
    """The kernel's own form."""
    return _HEADER.pack(_VERSION) + b"".join(_ENTRY.pack(*entry) for entry in entries)


def format_acl(entries: Iterable[AclEntry]) -> str:
    """As setfacl and archives write it, with numbers for names: ``user::rw-,user:1000:r--,group::r--,mask::r--,other::---``."""
    names = {_USER_OBJ: "user", _USER: "user", _GROUP_OBJ: "group", _GROUP: "group", _MASK: "mask", _OTHER: "other"}
    return ",".join(
        f"{names[entry.tag]}:{entry.id if entry.tag in (_USER, _GROUP) else ''}:"
        + "".join(letter if entry.permissions & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))
        for entry in entries
        if entry.tag in names
    )


def group_permissions(entries: Sequence[AclEntry]) -> int:
    """What the file's own group may really do."""
    own = next((each.permissions for each in entries if each.tag == _GROUP_OBJ), 0)
    return own & next((each.permissions for each in entries if each.tag == _MASK), 0o7)


def mode_of(entries: Sequence[AclEntry]) -> int:
    """The permissions that the kernel shows for a file with that list: the mask, where there is one, for the group's."""
    by_tag = {each.tag: each.permissions for each in entries}
    group = by_tag.get(_MASK, by_tag.get(_GROUP_OBJ, 0))
    return by_tag.get(_USER_OBJ, 0) << 6 | group << 3 | by_tag.get(_OTHER, 0)


def bound_acl(entries: Sequence[AclEntry], mode: int) -> tuple[AclEntry, ...]:
    """What a file gets of a folder's default list when it is made with that mode."""
    has_mask = any(each.tag == _MASK for each in entries)
    bounds = {_USER_OBJ: mode >> 6 & 7, _OTHER: mode & 7, _MASK if has_mask else _GROUP_OBJ: mode >> 3 & 7}
    return tuple(each._replace(permissions=each.permissions & bounds.get(each.tag, 0o7)) for each in entries)


def writers(mode: int, gid: int, acl: tuple[AclEntry, ...] = ()) -> Writers:
    """Of a file with that mode and group. With a list the mask bounds everybody but the owner and the others."""
    if not acl:
        return Writers(frozenset(), frozenset({gid} if mode & 0o020 else ()), bool(mode & 0o002), by_list=False)
    mask = next((each.permissions for each in acl if each.tag == _MASK), 0o7)
    writing = [each for each in acl if each.permissions & _WRITE & (0o7 if each.tag == _OTHER else mask)]
    return Writers(
        frozenset(each.id for each in writing if each.tag == _USER),
        frozenset(gid if each.tag == _GROUP_OBJ else each.id for each in writing if each.tag in (_GROUP_OBJ, _GROUP)),
        any(each.tag == _OTHER for each in writing),
        by_list=True,
    )


def read_acl(path: Path) -> tuple[AclEntry, ...]:
    """That of a path, itself and not what it links to; empty when there is none. Raises OSError: it cannot be told."""
    try:
        return parse_acl(os.getxattr(path, ACCESS, follow_symlinks=False))
    except OSError as error:
        if error.errno in _NO_LIST:
            return ()
        raise
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error)) from None


def remove_acls(path: Path) -> None:
    """Takes the lists of a file or folder away: its mode is what holds from then on. Follows links. Raises OSError."""
    for name in {ACCESS, DEFAULT}.intersection(os.listxattr(path)):
        os.removexattr(path, name)
