"""POSIX access control lists, without setfacl."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from watchdog.host import posix_acl

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
NOBODY = 0xFFFF_FFFF


def pack_acl(*entries: tuple[int, int, int]) -> bytes:
    """(tag, permissions, id) → the kernel's own form."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in sorted(entries))


def set_acl(
    path: Path,
    users: dict[int, int] | None = None,
    groups: dict[int, int] | None = None,
    mask: int = 7,
    name: str = posix_acl.ACCESS,
) -> None:
    """Named users and groups with their permissions; the owner gets all and the others may read."""
    entries = [(USER_OBJ, 7, NOBODY), (GROUP_OBJ, 5, NOBODY), (MASK, mask, NOBODY), (OTHER, 5, NOBODY)]
    entries += [(USER, permissions, uid) for uid, permissions in (users or {}).items()]
    entries += [(GROUP, permissions, gid) for gid, permissions in (groups or {}).items()]
    try:
        os.setxattr(path, name, pack_acl(*entries))
    except OSError as error:
        pytest.skip(f"no access control lists here: {error.strerror}")
