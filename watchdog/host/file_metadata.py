"""What a file has beside its content: rights, owner, access lists and attributes; for whoever puts another in its place.

Where a file has an access list, the group bits of its mode are the list's mask and no group's right: a copy without the list
must not get them. What cannot be kept is said, never passed over.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from watchdog.core.model import JsonObject
from watchdog.host import posix_acl

_OF_FILES, _OF_FOLDERS = 0o777, 0o3777
"""What of a mode is given on: never that a program runs as somebody else (setuid, and setgid, which means another thing for a
folder)."""
_CAPABILITY = "security.capability"
"""An attribute that gives rights to whoever runs the file, like setuid."""
_MAX_ATTRIBUTES = 256 << 10
"""Bytes of all attributes of a file, names and values; the kernel's own limit for one is 64 KiB."""
_NONE_THERE = (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS)

FileAt = int | tuple[int, str]
"""A descriptor, or a name in an open folder; of a link the link itself."""


@dataclass(frozen=True, slots=True)
class FileMetadata:
    mode: int
    """Permissions; with a list its mask stands in the place of the group's."""
    uid: int
    gid: int
    acl: bytes | None = None
    """In the kernel's own form, as `default_acl`, which only a folder has."""
    default_acl: bytes | None = None
    attributes: Mapping[str, bytes] = field(default_factory=dict)
    """Extended attributes, but for lists and what gives rights."""
    left_out: tuple[str, ...] = ()
    """What is never given on, in words."""


def read_metadata(file: FileAt) -> FileMetadata:
    """Raises OSError."""
    found = _stat(file)
    left_out = ["setuid or setgid"] if stat.S_ISREG(found.st_mode) and found.st_mode & 0o6000 else []
    attributes, size = {}, 0
    for name in _names(file):
        value = _get(file, name)
        if name in (posix_acl.ACCESS, posix_acl.DEFAULT) or value is None:
            continue
        size += len(name) + len(value)
        if name == _CAPABILITY or size > _MAX_ATTRIBUTES:
            left_out.append(name)
        else:
            attributes[name] = value
    acl, default = _get(file, posix_acl.ACCESS), _get(file, posix_acl.DEFAULT)
    mode = found.st_mode & (_OF_FOLDERS if stat.S_ISDIR(found.st_mode) else _OF_FILES)
    return FileMetadata(mode, found.st_uid, found.st_gid, acl, default, attributes, tuple(left_out))


def give_metadata(file: int, was: FileMetadata, *, owner_may_differ: bool = False) -> tuple[str, ...]:
    """Makes it that of an open file or folder of ours. Says what of it is not kept, in words. Raises OSError.

    `owner_may_differ`: where the owner and the group are not ours to give, ours will do; what the group might do is then not
    handed to another group. Else that is an OSError.
    """
    lost = list(was.left_out)
    try:
        os.fchown(file, was.uid, was.gid)
    except PermissionError:
        if not owner_may_differ and (was.uid, was.gid) != _owner(file):
            raise
        with contextlib.suppress(PermissionError):
            os.fchown(file, -1, was.gid)
    uid, gid = _owner(file)
    lost += [f"owner {was.uid}"] if uid != was.uid else []
    if gid != was.gid:
        lost.append(f"group {was.gid}")
        was = _without_group_rights(was)
    lost += _give_lists(file, was)
    for name, value in was.attributes.items():
        if not _set(file, name, value) and _get(file, name) != value:  # the kernel may have set the same by itself
            lost.append(name)
    return tuple(lost)


def has_default_list(folder: int) -> bool:
    """Whether an open folder hands an access list on to what is made in it. Raises OSError."""
    return _get(folder, posix_acl.DEFAULT) is not None


def remove_lists(folder: int) -> None:
    """An open folder hands nothing on any more, and its mode alone says who may do what. Raises OSError."""
    give_metadata(folder, replace(read_metadata(folder), acl=None, default_acl=None, attributes={}))


def inherited_metadata(folder: int, made: FileMetadata, mode: int) -> FileMetadata:
    """That of a file which is made with `mode` in an open folder, as the kernel bounds the folder's default list by it (and asks
    for no umask then); without such a list it is as `made`, with no list of its own. Raises OSError."""
    default = _get(folder, posix_acl.DEFAULT)
    if default is None:
        return replace(made, acl=None)
    acl = posix_acl.bound_acl(posix_acl.parse_acl(default), mode)
    return replace(made, mode=posix_acl.mode_of(acl), acl=posix_acl.pack_acl(acl))


def with_execution(was: FileMetadata, *, allowed: bool) -> FileMetadata:
    """The same, to be run by whoever may read it, or by nobody."""

    def bits(permissions: int) -> int:
        return permissions & 0o6 | (permissions & 0o4) >> 2 if allowed else permissions & 0o6

    mode = sum(bits(was.mode >> shift & 0o7) << shift for shift in (6, 3, 0))
    if was.acl is None:
        return replace(was, mode=mode)
    entries = [entry._replace(permissions=bits(entry.permissions)) for entry in posix_acl.parse_acl(was.acl)]
    return replace(was, mode=mode, acl=posix_acl.pack_acl(entries))


def describe_lost(lost: Sequence[str]) -> str:
    """``; not kept: access list (ACL)``; empty when all was."""
    return f"; not kept: {', '.join(lost)}" if lost else ""


def to_json(metadata: FileMetadata) -> JsonObject:
    """What a journal keeps of a file's: ``{"mode", "uid", "gid", "acl": base64 or null, "attributes": {name: base64}}``."""
    return {
        "mode": metadata.mode,
        "uid": metadata.uid,
        "gid": metadata.gid,
        "acl": _encode(metadata.acl),
        "attributes": {name: _encode(value) for name, value in sorted(metadata.attributes.items())},
    }


def folder_to_json(metadata: FileMetadata) -> JsonObject:
    """The same of a folder, shorter, since many files stand in it: without attributes, and with lists only where it has some
    (``"default_acl"`` is what it hands on)."""
    lists = {"acl": _encode(metadata.acl), "default_acl": _encode(metadata.default_acl)}
    said = {"mode": metadata.mode, "uid": metadata.uid, "gid": metadata.gid}
    return said | {name: value for name, value in lists.items() if value is not None}


def from_json(said: JsonObject) -> FileMetadata:
    """Raises ValueError for what none is. What an older version has not noted is as if it were not there."""
    numbers = [said.get(name) for name in ("mode", "uid", "gid")]
    attributes = said.get("attributes", {})
    if not all(type(number) is int and 0 <= number < 1 << 32 for number in numbers) or not isinstance(attributes, dict):
        raise ValueError("no rights of a file")
    values = {name: _decode(value) or b"" for name, value in attributes.items()}
    refused = [name for name in values if name.startswith("system.") or name == _CAPABILITY or "\0" in name]
    if refused or sum(map(len, (*values, *values.values()))) > _MAX_ATTRIBUTES:
        raise ValueError("no attributes of a file")
    acl, default = (_decode(said.get(name)) for name in ("acl", "default_acl"))
    for each in (acl, default):
        if each is not None:
            posix_acl.parse_acl(each)
    return FileMetadata(said["mode"] & _OF_FOLDERS, said["uid"], said["gid"], acl, default, values)


def _give_lists(file: int, was: FileMetadata) -> Iterator[str]:
    """Rights and lists, and what is not kept; a folder above may have handed down others by now."""
    is_folder, mode = stat.S_ISDIR(os.fstat(file).st_mode), was.mode
    if was.acl is None or not _set(file, posix_acl.ACCESS, was.acl):
        _remove(file, posix_acl.ACCESS)
        mode = _plain_mode(was)
        os.fchmod(file, mode & (_OF_FOLDERS if is_folder else _OF_FILES))
        if was.acl is not None:
            yield "access list (ACL)"
    if not is_folder:
        return
    if was.acl is not None:
        os.fchmod(file, mode & _OF_FOLDERS)  # a list sets all of it but setgid and the like
    if was.default_acl is None:
        _remove(file, posix_acl.DEFAULT)
    elif not _set(file, posix_acl.DEFAULT, was.default_acl):
        yield "default access list (ACL)"


def _set(file: int, name: str, value: bytes) -> bool:
    try:
        os.setxattr(_path(file), name, value)
    except OSError:
        return False
    return True


def _remove(file: int, name: str) -> None:
    try:
        os.removexattr(_path(file), name)
    except OSError as problem:
        if problem.errno not in _NONE_THERE:
            raise


def _plain_mode(was: FileMetadata) -> int:
    """What the mode is without the list: the group gets what the list gives the group, within the mask."""
    if was.acl is None:
        return was.mode
    entries = posix_acl.parse_acl(was.acl)
    return was.mode & ~0o070 | posix_acl.group_permissions(entries) << 3 & was.mode


def _without_group_rights(was: FileMetadata) -> FileMetadata:
    """Another group gets no more than the others."""
    others = was.mode & 0o7
    if was.acl is None:
        return replace(was, mode=was.mode & (~0o070 | others << 3))
    entries = [
        entry._replace(permissions=entry.permissions & others) if entry.tag == posix_acl.GROUP_OBJ else entry
        for entry in posix_acl.parse_acl(was.acl)
    ]
    return replace(was, acl=posix_acl.pack_acl(entries))


def _owner(file: int) -> tuple[int, int]:
    found = os.fstat(file)
    return found.st_uid, found.st_gid


def _stat(file: FileAt) -> os.stat_result:
    return os.fstat(file) if isinstance(file, int) else os.stat(file[1], dir_fd=file[0], follow_symlinks=False)


def _path(file: FileAt) -> int | str:
    """Attributes are asked of a descriptor, or by a path from one; of a folder that is open for walking alone only by that."""
    if isinstance(file, int):
        return f"/proc/self/fd/{file}/." if stat.S_ISDIR(os.fstat(file).st_mode) else file
    return f"/proc/self/fd/{file[0]}/{file[1]}"


def _names(file: FileAt) -> list[str]:
    where = _path(file)
    try:
        return os.listxattr(where) if isinstance(where, int) else os.listxattr(where, follow_symlinks=False)
    except OSError as problem:
        if problem.errno in _NONE_THERE:
            return []
        raise


def _get(file: FileAt, name: str) -> bytes | None:
    where = _path(file)
    try:
        return os.getxattr(where, name) if isinstance(where, int) else os.getxattr(where, name, follow_symlinks=False)
    except OSError as problem:
        if problem.errno in _NONE_THERE:
            return None
        raise


def _encode(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _decode(said: object) -> bytes | None:
    if said is not None and not isinstance(said, str):
        raise ValueError("no bytes")
    return None if said is None else base64.b64decode(said, validate=True)
