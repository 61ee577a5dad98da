"""Who may write by a mode and by an access control list."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from tests.support.acl import GROUP, GROUP_OBJ, MASK, NOBODY, OTHER, USER, USER_OBJ, pack_acl, set_acl
from watchdog.host.posix_acl import DEFAULT, Writers, parse_acl, read_acl, remove_acls, writers


def test_a_mode_says_who_may_write_where_there_is_no_list() -> None:
    assert writers(0o664, 7) == Writers(frozenset(), frozenset({7}), everybody=False, by_list=False)
    assert writers(0o646, 7) == Writers(frozenset(), frozenset(), everybody=True, by_list=False)


@pytest.mark.parametrize(
    ("entries", "users", "groups", "everybody"),
    [
        ([(USER, 6, 12), (MASK, 7, NOBODY)], {12}, set(), False),
        ([(USER, 6, 12), (GROUP, 6, 13), (MASK, 4, NOBODY)], set(), set(), False),
        ([(GROUP, 2, 13), (GROUP_OBJ, 6, NOBODY), (MASK, 6, NOBODY)], set(), {13, 7}, False),
        ([(USER, 5, 12), (GROUP_OBJ, 5, NOBODY), (MASK, 7, NOBODY)], set(), set(), False),
        ([(OTHER, 2, NOBODY), (MASK, 0, NOBODY)], set(), set(), True),
    ],
    ids=["a named user", "masked", "groups", "readers", "the others are not masked"],
)
def test_a_list_is_what_counts_and_the_groups_bits_are_its_mask(
    entries: list[tuple[int, int, int]], users: set[int], groups: set[int], everybody: bool
) -> None:
    acl = parse_acl(pack_acl((USER_OBJ, 7, NOBODY), *entries))

    assert writers(0o675, 7, acl) == Writers(frozenset(users), frozenset(groups), everybody, by_list=True)


@pytest.mark.parametrize("value", [b"", b"\x02\x00", b"\x03\x00\x00\x00", pack_acl((USER, 6, 12))[:-1]])
def test_what_is_no_list_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="an access control list of"):
        parse_acl(value)


def test_a_list_on_the_disk_is_read_and_taken_away(tmp_path: Path) -> None:
    assert read_acl(tmp_path) == ()
    set_acl(tmp_path, users={12_345: 7})
    set_acl(tmp_path, users={12_345: 7}, name=DEFAULT)
    (tmp_path / "made").touch()

    assert writers(tmp_path.stat().st_mode, 0, read_acl(tmp_path)).users == {12_345}
    assert writers(0o666, 0, read_acl(tmp_path / "made")).users == {12_345}
    remove_acls(tmp_path)
    remove_acls(tmp_path)
    assert read_acl(tmp_path) == ()
    (tmp_path / "later").touch()
    assert read_acl(tmp_path / "later") == ()
    assert stat.S_IMODE((tmp_path / "later").stat().st_mode) & 0o022 == 0


@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.ENODATA])
def test_a_file_system_that_keeps_no_lists_has_modes_alone(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "getxattr", fail)

    assert read_acl(tmp_path) == ()


def test_a_list_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getxattr", lambda *_, **__: b"\x09\x00\x00\x00")

    with pytest.raises(OSError, match="of another version"):
        read_acl(tmp_path)
