from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from watchdog.net.secrets import SecretError, basic_authorization, find_credential, read_secret, read_token, redact


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
