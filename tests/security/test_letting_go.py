"""What is left of root when it has let go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.security.unprivileged import STRANGER, run_in_child
from watchdog.host.account import Account
from watchdog.host.privileges import drop

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to let go of it")


def test_the_right_to_read_every_file_counts_for_who_asks_ahead_as_sqlite_does(tmp_path: Path) -> None:
    secret = tmp_path / "private" / "file"
    secret.parent.mkdir(mode=0o700)
    secret.write_text("text")
    secret.chmod(0o600)

    def look() -> tuple[bool, bool, str, int]:
        drop(Account("stranger", STRANGER, STRANGER, (), "/"), [secret])
        return os.access(secret, os.R_OK), os.access(secret, os.W_OK), secret.read_text(), os.geteuid()

    assert run_in_child(look) == (True, False, "text", STRANGER)


def test_who_may_read_all_that_is_needed_keeps_nothing(tmp_path: Path) -> None:
    file = Path("/etc/passwd")
    hidden = tmp_path / "hidden"
    hidden.write_text("text")
    hidden.chmod(0o600)

    def look() -> tuple[Path | None, bool]:
        return drop(Account("stranger", STRANGER, STRANGER, (), "/"), [file]), os.access(hidden, os.R_OK)

    assert run_in_child(look) == (None, False)
