from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.actions import failing_at, json_round_trip, killed_at, make_action
from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.core.target import Target
from watchdog.host import atomic_file

OLD, NEW = b'{"n": 2}\n', b'{"n": 1}\n'


@pytest.fixture
def bot_folder(tmp_path: Path) -> Path:
    return make_files(tmp_path / "bot")


def make_files(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "state.json").write_bytes(OLD)
    (folder / "state.json.backup").write_bytes(NEW)
    return folder


def make_restore_step(bot_folder: Path, **more: Any) -> Action:
    fields = {"file": "state.json", "from": "state.json.backup", **more}
    return make_action(do="restore", **fields).bind(Target(repo=str(bot_folder)))


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


REPLACED_NAME = f"state.json.replaced-{hashlib.sha256(OLD).hexdigest()[:12]}"


def test_the_backup_comes_in_and_the_replaced_file_is_kept(bot_folder: Path) -> None:
    (bot_folder / "state.json").chmod(0o640)
    step = make_restore_step(bot_folder)
    before = json_round_trip(step.capture())
    assert step.state(before) == "before"
    said = step.apply(before, "k")

    assert step.state(before) == "after"
    assert (bot_folder / "state.json").read_bytes() == NEW
    assert (bot_folder / "state.json").stat().st_mode & 0o777 == 0o640
    assert (bot_folder / REPLACED_NAME).read_bytes() == OLD
    assert file_names(bot_folder) == ["state.json", "state.json.backup", REPLACED_NAME]
    assert said.endswith(f"the replaced one is {bot_folder / REPLACED_NAME}")


def test_a_file_that_is_gone_comes_back(bot_folder: Path) -> None:
    (bot_folder / "state.json").unlink()
    step = make_restore_step(bot_folder)
    before = step.capture()
    assert step.state(before) == "before"
    step.apply(before, "k")

    assert file_names(bot_folder) == ["state.json", "state.json.backup"]


def test_what_the_bot_wrote_since_is_other_and_stays(bot_folder: Path) -> None:
    step = make_restore_step(bot_folder)
    before = step.capture()
    (bot_folder / "state.json").write_text("{}")
    assert step.state(before) == "other"
    with pytest.raises(ActionError, match="changed by somebody else"):
        step.apply(before, "k")

    assert (bot_folder / "state.json").read_text() == "{}"


def test_an_edit_in_the_instant_of_writing_is_noticed(bot_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = make_restore_step(bot_folder)
    before = step.capture()
    monkeypatch.setattr(os, "fsync", lambda _file: (bot_folder / "state.json").write_text("mine"))
    with pytest.raises(ActionError, match="this very moment"):
        step.apply(before, "k")

    assert (bot_folder / "state.json").read_text() == "mine"


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
    bot_folder: Path, content: bytes | None, fields: dict[str, str], why: str
) -> None:
    backup = bot_folder / "state.json.backup"
    backup.unlink()
    if content is not None:
        backup.write_bytes(content)
    with pytest.raises(ActionError, match=why):
        make_restore_step(bot_folder, **fields).capture()


def test_a_checksum_that_fits_is_well(bot_folder: Path) -> None:
    assert make_restore_step(bot_folder, sha256=hashlib.sha256(NEW).hexdigest()).capture()["old"]


def test_what_is_no_json_by_name_need_not_be_json(bot_folder: Path) -> None:
    (bot_folder / "x.backup").write_bytes(b"\0\1")
    step = make_restore_step(bot_folder, file="x.db", **{"from": "x.backup"})
    before = step.capture()
    step.apply(before, "k")

    assert (bot_folder / "x.db").read_bytes() == b"\0\1"


def test_a_backup_that_changes_after_it_was_verified_is_refused(bot_folder: Path) -> None:
    step = make_restore_step(bot_folder)
    before = step.capture()
    (bot_folder / "state.json.backup").write_text("{")
    with pytest.raises(ActionError, match="in the meantime"):
        step.apply(before, "k")

    assert (bot_folder / "state.json").read_bytes() == OLD
    assert file_names(bot_folder) == ["state.json", "state.json.backup"]


def test_a_file_that_somebody_writes_is_refused(bot_folder: Path) -> None:
    with (
        (bot_folder / "state.json").open("a"),
        pytest.raises(ActionError, match=r"is being written by .* stop that first"),
    ):
        make_restore_step(bot_folder).capture()


@pytest.mark.parametrize("end", ["-wal", "-journal"])
def test_an_open_database_is_refused(bot_folder: Path, end: str) -> None:
    (bot_folder / f"state.json{end}").touch()
    with pytest.raises(ActionError, match="the database is open"):
        make_restore_step(bot_folder).capture()


def test_a_link_is_followed_and_stays(bot_folder: Path) -> None:
    (bot_folder / "state.json").rename(bot_folder / "real.json")
    (bot_folder / "state.json").symlink_to("real.json")
    step = make_restore_step(bot_folder)
    step.apply(step.capture(), "k")

    assert (bot_folder / "state.json").is_symlink()
    assert (bot_folder / "real.json").read_bytes() == NEW


def test_a_preview_is_a_diff(bot_folder: Path) -> None:
    step = make_restore_step(bot_folder)
    before = step.capture()
    assert "-n: 2\n+n: 1\n" in step.preview(before)
    step.apply(before, "k")

    assert step.preview(step.capture()) == ""


def test_a_folder_is_no_file_and_a_missing_folder_is_said(bot_folder: Path) -> None:
    with pytest.raises(ActionError, match="no regular file"):
        make_restore_step(bot_folder, file=".").capture()
    with pytest.raises(ActionError, match="there is no folder"):
        make_restore_step(bot_folder, file="none/x").capture()
    with pytest.raises(ActionError, match="is relative, to nothing"):
        make_action(do="restore", file="x", **{"from": "y"}).bind(Target())


def test_a_checksum_is_64_hex_digits() -> None:
    with pytest.raises(ValidationError):
        make_action(do="restore", file="x", **{"from": "y"}, sha256="abc")


def test_killed_anywhere_it_is_gone_on_from(tmp_path: Path) -> None:
    for nth in range(50):
        place = make_files(tmp_path / "bot")
        step = make_restore_step(place)
        before = json_round_trip(step.capture())
        survived = not killed_at(nth, lambda step=step, before=before: step.apply(before, "k"))  # type: ignore[misc]
        assert step.state(before) in ("before", "after")
        assert json.loads((place / "state.json").read_bytes())
        step.apply(before, "k")

        assert (place / "state.json").read_bytes() == NEW
        assert file_names(place) == ["state.json", "state.json.backup", REPLACED_NAME]
        if survived:
            assert nth > 1
            return
    pytest.fail("it never got through")


def test_failing_anywhere_the_file_is_as_it_was_or_as_it_should_be(tmp_path: Path) -> None:
    for nth in range(50):
        place = make_files(tmp_path / "bot")
        step = make_restore_step(place)
        before = step.capture()
        with failing_at(nth) as came:
            try:
                step.apply(before, "k")
            except ActionError:
                assert step.state(before) in ("before", "after")
        assert step.state(before) in ("before", "after")
        if not came:
            return
    pytest.fail("it never got through")


def test_without_hard_links_the_replaced_file_is_copied(bot_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **_how: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    step = make_restore_step(bot_folder)
    step.apply(step.capture(), "k")

    assert (bot_folder / REPLACED_NAME).read_bytes() == OLD
    assert atomic_file.read_bytes(bot_folder / "state.json") == NEW
