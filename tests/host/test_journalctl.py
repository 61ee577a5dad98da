"""The journal of a unit, as journalctl tells it: its odd answers by a program of the test's own, and the real one."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.journald import journald_unavailable, run_beside_journald
from watchdog.core.errors import ActionError
from watchdog.host import journalctl
from watchdog.host.journalctl import JournalPart, JournalPosition

MakeJournalctl = Callable[[str], None]
LIMIT = 1 << 20
AFTER = JournalPosition("s=1;i=7", 1_700_000_000_123_456)


@pytest.fixture
def fake_journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeJournalctl:
    """Puts a `journalctl` of the test's own first in PATH: a shell script with the given body. Its words come to `words`."""

    def become(body: str) -> None:
        program = tmp_path / "journalctl"
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{tmp_path}/words\n{body}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return become


def entry(message: object, number: int = 1, usec: int = 1_700_000_001_000_000) -> str:
    return json.dumps({"__CURSOR": f"s=1;i={number}", "__REALTIME_TIMESTAMP": str(usec), "MESSAGE": message})


def say(*entries: str) -> str:
    return "cat <<'END'\n" + "\n".join(entries) + "\nEND"


def read(limit: int = LIMIT, seconds: float = 20.0) -> JournalPart:
    matches = journalctl.unit_matches("bot.service", None)
    return journalctl.entries_after(AFTER, matches, max_bytes=limit, deadline=time.monotonic() + seconds)


def test_a_message_is_a_text_or_bytes_or_several_or_none_at_all(fake_journalctl: MakeJournalctl) -> None:
    said = ["a text", [98, 255, 10, 99], None, ["one", "two"], [[98, 255], "two"], {"a": 1}, "", "\ud800"]
    fake_journalctl(say(*(entry(message, number) for number, message in enumerate(said, 10))))

    found = [each.message for each in read().entries]

    assert found == [b"a text", b"b\xff\nc", None, b"one\ntwo", b"b\xff\ntwo", None, b"", b"?"]


def test_it_goes_on_behind_the_cursor(fake_journalctl: MakeJournalctl, tmp_path: Path) -> None:
    fake_journalctl(say(entry("read", 7), entry("a", 8), entry("b", 9)))

    part = read()

    assert [each.message for each in part.entries] == [b"a", b"b"]
    assert part.entries[-1].position == JournalPosition("s=1;i=9", 1_700_000_001_000_000)
    assert part.entries[-1].t == 1_700_000_001_000
    assert not part.more
    words = (tmp_path / "words").read_text()
    assert "--cursor=s=1;i=7 --unit=bot.service" in words


def test_after_a_cursor_that_the_journal_refuses_it_goes_on_with_what_is_younger_than_the_last_entry(
    fake_journalctl: MakeJournalctl, tmp_path: Path
) -> None:
    again = say(entry("old", 1, AFTER.usec - 5), entry("same", 2, AFTER.usec), entry("new", 3, AFTER.usec + 1))
    fake_journalctl(
        f"case $* in *--cursor*) echo 'Failed to seek to cursor: Invalid argument' >&2; exit 1;; esac\n{again}"
    )

    assert [each.message for each in read().entries] == [b"new"]
    assert "--since=@1700000000.123456" in (tmp_path / "words").read_text()


def test_of_more_than_is_read_the_oldest_come_and_the_program_is_not_waited_for(
    fake_journalctl: MakeJournalctl,
) -> None:
    fake_journalctl(say(*(entry("x" * 50, number) for number in range(20))) + "\nexec sleep 100")

    part = read(limit=500)

    assert 0 < len(part.entries) < 5
    assert part.more
    assert part.entries[0].position.cursor == "s=1;i=0"


def test_what_came_ahead_of_the_deadline_counts(fake_journalctl: MakeJournalctl) -> None:
    fake_journalctl(say(entry("a"), entry("b")) + "\nexec sleep 100")

    part = read(seconds=0.5)

    assert [each.message for each in part.entries] == [b"a", b"b"]
    assert part.more


def test_a_message_that_is_longer_than_all_that_is_read_is_passed_over(fake_journalctl: MakeJournalctl) -> None:
    fake_journalctl(
        f"case $* in *--all*) {say(entry('x' * 2_000, 8))}\n;; *) {say(entry(None, 8), entry('b', 9))}\n;; esac"
    )

    assert [each.message for each in read(limit=1_000).entries] == [None, b"b"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("exec sleep 100", "within"),
        (
            "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1",
            "usermod -aG systemd-journal",
        ),
        ("echo nonsense", "first in the watchdog's PATH"),
        ("echo '[1]'", "first in the watchdog's PATH"),
        ("exit 3", "ended with 3: it said nothing — "),
    ],
)
def test_what_is_no_answer_is_an_error_with_a_cure(fake_journalctl: MakeJournalctl, body: str, said: str) -> None:
    fake_journalctl(body)

    with pytest.raises(ActionError, match=said) as caught:
        read(seconds=0.3 if "sleep" in body else 20)

    assert " — " in str(caught.value)


def test_without_journalctl_files_are_the_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ActionError, match=r"not found.* — .*files"):
        read()


def test_a_unit_of_a_users_own_manager_is_found_by_that_user() -> None:
    assert journalctl.unit_matches("bot.service", "1000")[:3] == ("_SYSTEMD_USER_UNIT=bot.service", "_UID=1000", "+")
    assert "_UID=0" in journalctl.unit_matches("bot.service", "root")
    with pytest.raises(ActionError, match="mend user"):
        journalctl.unit_matches("bot.service", "nobody-of-that-name")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_whatever_a_message_is_it_is_bytes_or_nothing(message: object) -> None:
    found = journalctl._to_message(message)

    assert found is None or isinstance(found, bytes)


STORY = """
import json, os, pathlib, time
from tests.support.journald import sync, write
from watchdog.host import journalctl
from watchdog.host.journalctl import JournalPosition

matches = journalctl.unit_matches("bot.service", None)
def later(): return time.monotonic() + 30
def after(position, matches=matches, limit=1 << 20):
    part = journalctl.entries_after(position, matches, max_bytes=limit, deadline=later())
    return [None if each.message is None else each.message[:20].decode("latin-1") for each in part.entries], part
told = {}
told["no entry"] = journalctl.newest_position(matches, deadline=later())
write(b"before"); sync()
position = journalctl.newest_position(matches, deadline=later())
told["first"] = position is not None
for message in (b"plain", b"bad \\xff\\nsecond", b"x" * 9_000, b""): write(message)
write(b"another's", "other.service"); sync()
told["after"], part = after(position)
told["short"], cut = after(position, limit=700)
told["more"] = [cut.more, part.more]
told["nothing new"] = after(part.entries[-1].position)[0]
told["nonsense"] = after(JournalPosition("nonsense", part.entries[1].position.usec))[0]
write(b"mine", field="USER_UNIT"); sync()
told["a user's"] = after(position, journalctl.unit_matches("bot.service", "root"))[0]
os.system("journalctl --rotate")
for path in pathlib.Path("/run/log/journal").glob("*/*@*.journal"): path.unlink()
write(b"after the vacuum"); sync()
told["vacuumed"] = after(position)[0]
print(json.dumps(told))
"""


def test_the_real_journal_is_read_as_the_odd_one_is() -> None:
    if missing := journald_unavailable():
        pytest.skip(missing)

    told = json.loads(run_beside_journald(STORY).splitlines()[-1])

    assert told["no entry"] is None
    assert told["first"]
    assert told["after"] == ["plain", "bad ÿ\nsecond", "x" * 20, ""]
    assert told["short"][:1] == ["plain"]
    assert len(told["short"]) < 4
    assert told["more"] == [True, False]
    assert told["nothing new"] == []
    assert told["nonsense"] == ["x" * 20, ""]
    assert told["a user's"] == ["mine"]
    assert told["vacuumed"] == ["after the vacuum"]
