from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.actions.helpers import action, failing_at, killed_at, through_journal
from watchdog.actions import files
from watchdog.model import Action, ActionError, Target

OLD, NEW = b'{"n": 2}\n', b'{"n": 1}\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return fill(tmp_path / "bot")


def fill(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "state.json").write_bytes(OLD)
    (folder / "state.json.backup").write_bytes(NEW)
    return folder


def restore(place: Path, **more: Any) -> Action:
    fields = {"file": "state.json", "from": "state.json.backup", **more}
    return action(do="restore", **fields).at(Target(repo=str(place)))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


ASIDE = f"state.json.replaced-{hashlib.sha256(OLD).hexdigest()[:12]}"


def test_the_backup_comes_in_and_the_replaced_file_is_kept(place: Path) -> None:
    (place / "state.json").chmod(0o640)
    step = restore(place)
    before = through_journal(step.before())
    assert step.state(before) == "before"
    said = step.apply(before, "k")

    assert step.state(before) == "after"
    assert (place / "state.json").read_bytes() == NEW
    assert (place / "state.json").stat().st_mode & 0o777 == 0o640
    assert (place / ASIDE).read_bytes() == OLD
    assert names(place) == ["state.json", "state.json.backup", ASIDE]
    assert said.endswith(f"the replaced one is {place / ASIDE}")


def test_a_file_that_is_gone_comes_back(place: Path) -> None:
    (place / "state.json").unlink()
    step = restore(place)
    before = step.before()
    assert step.state(before) == "before"
    step.apply(before, "k")

    assert names(place) == ["state.json", "state.json.backup"]


def test_what_the_bot_wrote_since_is_other_and_stays(place: Path) -> None:
    step = restore(place)
    before = step.before()
    (place / "state.json").write_text("{}")
    assert step.state(before) == "other"
    with pytest.raises(ActionError, match="changed by somebody else"):
        step.apply(before, "k")

    assert (place / "state.json").read_text() == "{}"


def test_an_edit_in_the_instant_of_writing_is_noticed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = restore(place)
    before = step.before()
    monkeypatch.setattr(os, "fsync", lambda _file: (place / "state.json").write_text("mine"))
    with pytest.raises(ActionError, match="this very moment"):
        step.apply(before, "k")

    assert (place / "state.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "fields", "why"),
    [
        (b"", {}, "is empty"),
        (b'{"n": 1', {}, "no whole JSON"),
        (b"\xff", {}, "no whole JSON"),
        (NEW, {"sha256": "0" * 64}, "it is another one"),
        (None, {}, "there is no backup"),
    ],
)
def test_a_backup_that_is_not_whole_is_refused(
    place: Path, content: bytes | None, fields: dict[str, str], why: str
) -> None:
    backup = place / "state.json.backup"
    backup.unlink()
    if content is not None:
        backup.write_bytes(content)
    with pytest.raises(ActionError, match=why):
        restore(place, **fields).before()


def test_a_checksum_that_fits_is_well(place: Path) -> None:
    assert restore(place, sha256=hashlib.sha256(NEW).hexdigest()).before()["old"]


def test_what_is_no_json_by_name_need_not_be_json(place: Path) -> None:
    (place / "x.backup").write_bytes(b"\0\1")
    step = restore(place, file="x.db", **{"from": "x.backup"})
    before = step.before()
    step.apply(before, "k")

    assert (place / "x.db").read_bytes() == b"\0\1"


def test_a_backup_that_changes_after_it_was_verified_is_refused(place: Path) -> None:
    step = restore(place)
    before = step.before()
    (place / "state.json.backup").write_text("{")
    with pytest.raises(ActionError, match="in the meantime"):
        step.apply(before, "k")

    assert (place / "state.json").read_bytes() == OLD
    assert names(place) == ["state.json", "state.json.backup"]


def test_a_file_that_somebody_writes_is_refused(place: Path) -> None:
    with (place / "state.json").open("a"), pytest.raises(ActionError, match=r"is being written by .* stop that first"):
        restore(place).before()


@pytest.mark.parametrize("end", ["-wal", "-journal"])
def test_an_open_database_is_refused(place: Path, end: str) -> None:
    (place / f"state.json{end}").touch()
    with pytest.raises(ActionError, match="the database is open"):
        restore(place).before()


def test_a_link_is_followed_and_stays(place: Path) -> None:
    (place / "state.json").rename(place / "real.json")
    (place / "state.json").symlink_to("real.json")
    step = restore(place)
    step.apply(step.before(), "k")

    assert (place / "state.json").is_symlink()
    assert (place / "real.json").read_bytes() == NEW


def test_a_preview_is_a_diff(place: Path) -> None:
    step = restore(place)
    before = step.before()
    assert '-{"n": 2}\n+{"n": 1}\n' in step.preview(before)
    step.apply(before, "k")

    assert step.preview(step.before()) == ""


def test_a_folder_is_no_file_and_a_missing_folder_is_said(place: Path) -> None:
    with pytest.raises(ActionError, match="no regular file"):
        restore(place, file=".").before()
    with pytest.raises(ActionError, match="there is no folder"):
        restore(place, file="none/x").before()
    with pytest.raises(ActionError, match="is relative, to nothing"):
        action(do="restore", file="x", **{"from": "y"}).at(Target())


def test_a_checksum_is_64_hex_digits() -> None:
    with pytest.raises(ValidationError):
        action(do="restore", file="x", **{"from": "y"}, sha256="abc")


def test_killed_anywhere_it_is_gone_on_from(tmp_path: Path) -> None:
    for nth in range(50):
        place = fill(tmp_path / "bot")
        step = restore(place)
        before = through_journal(step.before())
        survived = not killed_at(nth, lambda step=step, before=before: step.apply(before, "k"))  # type: ignore[misc]
        assert step.state(before) in ("before", "after")
        assert json.loads((place / "state.json").read_bytes())
        step.apply(before, "k")

        assert (place / "state.json").read_bytes() == NEW
        assert names(place) == ["state.json", "state.json.backup", ASIDE]
        if survived:
            assert nth > 1
            return
    pytest.fail("it never got through")


def test_failing_anywhere_the_file_is_as_it_was_or_as_it_should_be(tmp_path: Path) -> None:
    for nth in range(50):
        place = fill(tmp_path / "bot")
        step = restore(place)
        before = step.before()
        with failing_at(nth) as came:
            try:
                step.apply(before, "k")
            except ActionError:
                assert step.state(before) in ("before", "after")
        assert step.state(before) in ("before", "after")
        if not came:
            return
    pytest.fail("it never got through")


def test_without_hard_links_the_replaced_file_is_copied(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", none)
    step = restore(place)
    step.apply(step.before(), "k")

    assert (place / ASIDE).read_bytes() == OLD
    assert files.read_bytes(place / "state.json") == NEW
