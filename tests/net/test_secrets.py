from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.acl import set_acl
from watchdog.net.secrets import (
    SecretError,
    basic_authorization,
    find_credential,
    hide,
    password_of,
    read_secret,
    read_token,
    redact,
)


def test_a_token_is_read_without_the_space_around_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\ns3cret-token \n")

    assert read_token(str(tmp_path / "token")) == "s3cret-token"
    assert read_secret(str(tmp_path / "token"), "headers_file") == "\ns3cret-token \n"


@pytest.mark.parametrize("held", [b"", b"hush hush", b"hush\nhush", "hüsh".encode(), b"hush\x00", b"hush\xff"])
def test_a_file_that_holds_no_token_is_told_without_its_content(held: bytes, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(held)
    with pytest.raises(SecretError, match=f"^token_file {re.escape(str(path))} .* — ") as caught:
        read_token(str(path))

    assert "sh" not in str(caught.value).replace(str(path), "").replace("should", "")


def test_a_token_of_another_shape_than_its_channel_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hush")
    with pytest.raises(SecretError, match=r"holds no bot token \(123:ABC\) — check that it was copied whole"):
        read_token(str(tmp_path / "token"), pattern=re.compile("[0-9]+:[A-Z]+"), description="bot token (123:ABC)")


@pytest.mark.parametrize("read", [read_secret, read_token])
def test_a_file_that_cannot_be_read_is_told_with_the_cure(read: Callable[[str, str], str], tmp_path: Path) -> None:
    with pytest.raises(SecretError, match=r"key .*gone cannot be read: No such file or directory — the daemon's user"):
        read(str(tmp_path / "gone"), "key")


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_what_is_no_regular_file_holds_nobody_up(kind: str, tmp_path: Path) -> None:
    """A fifo without a writer, opened as usual, blocks for ever."""
    path = tmp_path / "token"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path("/dev/zero")
    with pytest.raises(SecretError, match=r"is no regular file|Is a directory|everybody may write"):
        read_token(str(path))


def test_a_file_without_an_end_is_not_read_to_it(tmp_path: Path) -> None:
    with (tmp_path / "token").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SecretError, match="longer than 64 KiB"):
        read_secret(str(tmp_path / "token"), "token_file")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_token_in_a_folder_of_somebody_else_is_not_read_whoever_owns_the_file(tmp_path: Path) -> None:
    """It is root's own file, by a link that the bot may change: of which file the token is, is the bot's choice."""
    (tmp_path / "shadow").write_text("root-secret")
    (tmp_path / "bot").mkdir()
    (tmp_path / "bot" / "token").symlink_to(tmp_path / "shadow")
    os.chown(tmp_path / "bot", 12_345, 12_345)

    with pytest.raises(SecretError, match=f"is not read: the folder {tmp_path}/bot belongs to 12345.*chown") as caught:
        read_token(str(tmp_path / "bot" / "token"))
    assert "root-secret" not in str(caught.value)


def test_a_file_whose_way_is_opened_to_others_after_the_start_is_not_read_any_more(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    assert read_token(str(tmp_path / "token")) == "t"
    set_acl(tmp_path, users={12_345: 7})

    with pytest.raises(SecretError, match=r"the user 12345 may write the folder .* by its ACL — .*setfacl -b"):
        read_token(str(tmp_path / "token"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_link_that_is_gone_while_it_is_looked_at_and_back_when_the_file_is_opened_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sticky folder, as /tmp is, the link is the bot's own to take away and to make."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").write_text("root-secret")
    link, sticky = tmp_path / "sticky" / "link", tmp_path / "sticky"
    sticky.mkdir()
    os.chown(sticky, 0, 1)
    sticky.chmod(0o1775)

    def plant() -> None:
        link.symlink_to(tmp_path / "secrets")
        os.chown(link, 12_345, 12_345, follow_symlinks=False)

    plant()
    real_lstat, real_open = Path.lstat, os.open

    def lstat(path: Path) -> os.stat_result:
        if path == link:
            link.unlink(missing_ok=True)
        return real_lstat(path)

    def open_(path: str, *args: int) -> int:
        plant()
        return real_open(path, *args)

    monkeypatch.setattr(Path, "lstat", lstat)
    monkeypatch.setattr(os, "open", open_)

    with pytest.raises(SecretError, match="cannot be read: No such file or directory"):
        read_token(str(link / "token"))


def test_a_relative_name_is_looked_for_among_systemds_credentials(tmp_path: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    (tmp_path / "token").write_text("t")

    assert find_credential("token", environ) == tmp_path / "token"
    assert find_credential("other", environ) is None
    assert find_credential(str(tmp_path / "token"), environ) is None
    assert find_credential("token", {}) is None
    assert find_credential("token", {"CREDENTIALS_DIRECTORY": ""}) is None


@pytest.mark.parametrize("name", ["x" * 5_000, "a\x00b"])
def test_a_name_that_no_file_can_have_is_no_credential(name: str, tmp_path: Path) -> None:
    assert find_credential(name, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) is None


def test_name_and_password_are_one_header() -> None:
    assert basic_authorization("bot", "pass") == "Basic Ym90OnBhc3M="


def test_somebody_elses_words_are_one_short_line_without_our_secrets() -> None:
    assert redact("no  bot\nhush here", "hush") == "no bot *** here"
    assert len(redact("x" * 1_000)) == 201


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("it says 0123456789abcdef, twice: 0123456789abcdef0123456789abcdef", "it says ***, twice: ***"),
        ("cut short: 0123456789a…", "cut short: ***…"),
        ("its end: …89abcdef", "its end: …***"),
        ("a part of no use: 0123456", "a part of no use: 0123456"),
        ("s3crets", "***s"),
        ("", ""),
    ],
)
def test_a_secret_is_hidden_and_so_is_a_piece_of_it(text: str, shown: str) -> None:
    assert hide(text, "0123456789abcdef", "s3cret", "") == shown


def test_a_password_is_known_in_its_wrapping() -> None:
    assert password_of(basic_authorization("ada", "pässword:x")) == "pässword:x"
    assert password_of("Basic ===") == password_of("Bearer token") == password_of("") == ""
