"""A lab: the folder of a bot, and what lies outside of it, on a machine with two users without rights."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.security.unprivileged import BOT, OUTSIDE


class Lab(NamedTuple):
    bot: Path
    """The bot's folder; all of it is the bot user's."""
    outside: Path
    """A folder of the bot user's that is no folder of the target: rights alone do not keep anybody out."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("only root can be two other users")
    top = Path(tempfile.mkdtemp(prefix="lab-"))  # pytest's own folders are closed to other users
    top.chmod(0o755)
    made = Lab(top / "bot", top / "outside")
    for folder in made:
        (folder / "conf").mkdir(parents=True)
    (made.bot / "conf/config.py").write_text("FEATURE = True\n")
    (made.bot / "state.json").write_text('{"n": 2}')
    (made.bot / "state.json.backup").write_text('{"n": 1}')
    for name in ("conf/config.py", "state.json", "state.json.backup"):
        (made.outside / name).write_bytes(b'FEATURE = True  # {"n": "%s"}\n' % OUTSIDE)
    for path in (made.bot, made.outside, *made.bot.rglob("*"), *made.outside.rglob("*")):
        os.chown(path, BOT, BOT)
    try:
        yield made
    finally:
        shutil.rmtree(top)
