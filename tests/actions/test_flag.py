from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.support.actions import json_round_trip, killed_at, make_action
from watchdog.actions import FlagAction
from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.core.target import Target

CONFIG_PY = "GLOBAL_TRADING = True  # the big switch\nFEATURE = True\n"


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.py"
    path.write_text(CONFIG_PY)
    return path


def file_names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def make_flag_step(config_file: Path, file: str = "config.py") -> Action:
    return make_action(do="flag", file=file, set={"FEATURE": False}).bind(Target(repo=str(config_file.parent)))


def test_a_flag_is_set_and_the_rest_of_the_file_stays(config_file: Path) -> None:
    flag = make_flag_step(config_file)
    before = json_round_trip(flag.capture())

    assert flag.state(before) == "before"
    assert flag.apply(before, "k") == "FEATURE = false in config.py (FEATURE was True)"
    assert flag.state(before) == "after"
    assert config_file.read_text() == CONFIG_PY.replace("FEATURE = True", "FEATURE = False")
    assert file_names(config_file.parent) == ["config.py"]


def test_several_flags_of_one_step_are_set_at_once(config_file: Path) -> None:
    flag = make_action(do="flag", file=str(config_file), set={"FEATURE": False, "GLOBAL_TRADING": False})
    before = flag.capture()
    flag.apply(before, "k")

    assert config_file.read_text() == CONFIG_PY.replace("True", "False")
    assert before["was"] == {"FEATURE": "True", "GLOBAL_TRADING": "True"}


def test_a_flag_that_is_so_already_is_after_and_is_not_written(config_file: Path) -> None:
    config_file.write_text("FEATURE = False\n")
    stat = config_file.stat()
    flag = make_flag_step(config_file)
    before = flag.capture()
    flag.apply(before, "k")

    assert flag.state(before) == "after"
    assert config_file.stat() == stat


def test_somebody_elses_value_is_other_and_is_not_overwritten(config_file: Path) -> None:
    flag = make_flag_step(config_file)
    before = flag.capture()
    config_file.write_text(CONFIG_PY.replace("FEATURE = True", "FEATURE = None"))

    assert flag.state(before) == "other"
    with pytest.raises(ActionError, match="was changed by somebody else"):
        flag.apply(before, "k")


def test_an_edit_that_comes_while_the_new_file_is_written_is_noticed(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = make_flag_step(config_file)
    before = flag.capture()
    monkeypatch.setattr(os, "fsync", lambda _file: config_file.write_text("# mine\n"))
    with pytest.raises(ActionError, match="this very moment"):
        flag.apply(before, "k")

    assert config_file.read_text() == "# mine\n"
    assert file_names(config_file.parent) == ["config.py"]


def test_a_bot_is_made_smaller_instead_of_switched_off(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{\n  // quote first\n  "pairs": ["BTC/USDT", "ETH/USDT"],\n  "throttle": {"every": 5},\n}\n')
    flag = make_action(do="flag", file="config.json", set={"pairs": ["BTC/USDT"], "throttle.every": 60})
    flag = flag.bind(Target(repo=str(tmp_path)))
    before = json_round_trip(flag.capture())
    diff = flag.preview(before).splitlines()
    flag.apply(before, "k")

    assert diff[2:] == ['-pairs[1]: "ETH/USDT"', "-throttle.every: 5", "+throttle.every: 60"]
    assert flag.state(before) == "after"


def test_a_preview_of_what_is_so_already_is_empty(config_file: Path) -> None:
    config_file.write_text("FEATURE = False")

    assert make_flag_step(config_file).preview(make_flag_step(config_file).capture()) == ""


def test_a_preview_shows_what_differs_and_nothing_beside_it(config_file: Path) -> None:
    config_file.write_bytes(b"# a\r\n\x0c# b\r\nFEATURE = True")
    flag = make_flag_step(config_file)
    name = str(config_file)[1:]

    assert flag.preview(flag.capture()) == f"--- a/{name}\n+++ b/{name}\n-FEATURE = True\n+FEATURE = False\n"


def test_somebody_elses_edit_of_another_line_is_kept(config_file: Path) -> None:
    flag = make_flag_step(config_file)
    before = flag.capture()
    config_file.write_text("# new\n" + CONFIG_PY)
    assert flag.state(before) == "before"
    flag.apply(before, "k")

    assert config_file.read_text() == "# new\n" + CONFIG_PY.replace("FEATURE = True", "FEATURE = False")


def test_a_file_that_cannot_be_read_is_unknown_and_one_without_the_flag_is_other(config_file: Path) -> None:
    flag = make_flag_step(config_file)
    before = flag.capture()
    config_file.write_text("FEATURE = (\n")
    assert flag.state(before) == "other"
    config_file.unlink()
    assert flag.state(before) == "unknown"


def test_mode_and_owner_stay(config_file: Path) -> None:
    config_file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(config_file, 65534, 65534)
    was = config_file.stat()
    flag = make_flag_step(config_file)
    flag.apply(flag.capture(), "k")

    now = config_file.stat()
    assert (now.st_mode, now.st_uid, now.st_gid) == (was.st_mode, was.st_uid, was.st_gid)
    assert now.st_ino != was.st_ino


def test_a_file_of_the_same_length_gets_a_newer_second_so_that_python_compiles_it_anew(config_file: Path) -> None:
    config_file.write_text("FEATURE = 1\n")
    was = config_file.stat()
    flag = make_action(do="flag", file=str(config_file), set={"FEATURE": 0})
    flag.apply(flag.capture(), "k")

    assert int(config_file.stat().st_mtime) > int(was.st_mtime)


def test_the_file_behind_a_link_changes_and_the_link_stays(config_file: Path) -> None:
    (config_file.parent / "link.py").symlink_to("config.py")
    flag = make_flag_step(config_file, "link.py")
    flag.apply(flag.capture(), "k")

    assert (config_file.parent / "link.py").is_symlink()
    assert "FEATURE = False" in config_file.read_text()


def test_a_file_with_other_hard_links_is_refused(config_file: Path) -> None:
    (config_file.parent / "twin.py").hardlink_to(config_file)
    flag = make_flag_step(config_file)
    with pytest.raises(ActionError, match="other hard links"):
        flag.apply(flag.capture(), "k")

    assert config_file.read_text() == CONFIG_PY


def test_a_file_that_cannot_be_written_is_left_as_it_was(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flag = make_flag_step(config_file)
    before = flag.capture()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ActionError, match="No space left") as caught:
        flag.apply(before, "k")

    assert not caught.value.may_have_happened
    assert config_file.read_text() == CONFIG_PY
    assert file_names(config_file.parent) == ["config.py"]


@pytest.mark.parametrize("content", ["X = 1\n", "FEATURE = f()\n"])
def test_what_cannot_be_set_is_said_before_anything_is_done(config_file: Path, content: str) -> None:
    config_file.write_text(content)
    with pytest.raises(ActionError, match="FEATURE"):
        make_flag_step(config_file).capture()


def test_a_missing_file_a_folder_and_a_huge_file_are_refused(config_file: Path) -> None:
    with pytest.raises(ActionError, match="there is no file"):
        make_flag_step(config_file, "none.py").capture()
    (config_file.parent / "folder.py").mkdir()
    with pytest.raises(ActionError, match="no regular file"):
        make_flag_step(config_file, "folder.py").capture()
    config_file.write_text("#" * (2 << 20))
    with pytest.raises(ActionError, match="bytes"):
        make_flag_step(config_file).capture()


def test_a_relative_file_needs_a_repo() -> None:
    with pytest.raises(ActionError, match="give the target a repo"):
        make_action(do="flag", file="config.py", set={"A": 1}).bind(Target())


@pytest.mark.parametrize(
    "fields", [{"file": "c.xml", "set": {"A": 1}}, {"file": "c.py", "set": {}}, {"file": "c.py", "set": {"a-b": 1}}]
)
def test_what_can_never_work_is_refused_at_load(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make_action(do="flag", **fields)


def test_a_new_secret_is_refused_since_the_plans_text_stands_in_the_journal() -> None:
    with pytest.raises(ValidationError, match="api_key looks like a secret, and the plan's text stands in the journal"):
        make_action(do="flag", file="c.json", set={"api_key": "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgw"})

    for value in ("", None, "none of yours", True):
        make_action(do="flag", file="c.json", set={"api_key": value})
    make_action(do="flag", file="c.json", set={"commit": "0123456789abcdef0123456789abcdef"})


@pytest.mark.parametrize("value", ["'hunter2'", "'hunter3'"])
def test_a_secret_is_known_again_by_what_was_noted_of_it(config_file: Path, value: str) -> None:
    config_file.write_text("API_KEY = 'hunter2'\nA = 1\n")
    flag = make_action(do="flag", file=str(config_file), set={"API_KEY": ""})
    captured = json_round_trip(flag.capture())
    config_file.write_text(f"API_KEY = {value}\nA = 2\n")

    assert flag.state(captured) == ("before" if value == "'hunter2'" else "other")
    assert list(flag.lasting_states(captured)) == [flag.state(captured)]


def test_what_an_older_version_noted_of_a_secret_is_understood_and_not_told(config_file: Path) -> None:
    config_file.write_text("API_KEY = 'hunter2'\n")
    flag = make_action(do="flag", file=str(config_file), set={"API_KEY": ""})
    captured = {**flag.capture(), "was": {"API_KEY": "'hunter2'"}}

    assert flag.state(captured) == "before"
    assert "hunter2" not in repr(flag.lasting_changes(captured))
    assert flag.lasting_changes(captured) == flag.lasting_changes(flag.capture())
    assert "hunter2" not in flag.apply(captured, "k")


def test_a_list_over_lines_that_was_only_laid_out_anew_is_before(config_file: Path) -> None:
    config_file.write_text("PAIRS = [\n    'a',\n    'b',\n]\n")
    flag = make_action(do="flag", file=str(config_file), set={"PAIRS": ["a"]})
    captured = json_round_trip(flag.capture())
    config_file.write_text("PAIRS = [\n  'a', 'b'\n]\n")

    assert captured["was"] == {"PAIRS": "['a', 'b']"}
    assert flag.state(captured) == "before"
    assert flag.apply(captured, "k") == f"PAIRS = ['a'] in {config_file} (PAIRS was ['a', 'b'])"
    assert config_file.read_text() == "PAIRS = [\n  'a'\n]\n"


def test_truth_and_numbers_are_not_mixed_up_on_the_way_from_the_plan() -> None:
    flag = make_action(do="flag", file="c.py", set={"A": True, "B": 1, "C": 1.0, "D": "1", "E": None, "F": [1, "x"]})

    assert isinstance(flag, FlagAction)
    assert [type(value) for value in flag.set.values()] == [bool, int, float, str, type(None), tuple]
    assert flag.describe() == "set A = true, B = 1, C = 1.0, D = '1', E = null, F = [1, 'x'] in c.py"
    assert FlagAction.model_validate_json(flag.model_dump_json()) == flag


def test_killed_anywhere_the_flag_can_still_be_set_and_nothing_stays_behind(config_file: Path) -> None:
    flag = make_flag_step(config_file)
    before = json_round_trip(flag.capture())
    for nth in range(100):
        folder = config_file.parent
        shutil.rmtree(folder)
        folder.mkdir()
        config_file.write_text(CONFIG_PY)
        survived = not killed_at(nth, lambda: flag.apply(before, "k"))
        assert flag.state(before) in ("before", "after")
        flag.apply(before, "k")

        assert config_file.read_text() == CONFIG_PY.replace("FEATURE = True", "FEATURE = False")
        assert file_names(folder) == ["config.py"]
        if survived:
            assert nth > 1
            return
    pytest.fail("it never got through")
