from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.actions import json_round_trip, make_action
from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.core.target import Target


def make_shell_step(script: str, check: str | None = None, repo: Path | None = None, **more: Any) -> Action:
    fields = {"do": "command", "run": ["sh", "-c", script], **more}
    if check is not None:
        fields["check"] = ["sh", "-c", check]
    return make_action(**fields).bind(Target(repo=str(repo) if repo else None))


def test_a_check_tells_before_from_after(tmp_path: Path) -> None:
    step = make_shell_step("touch done", "test -e done", tmp_path)
    before = json_round_trip(step.capture())
    assert step.state(before) == "before"
    step.apply(before, "k")

    assert step.state(before) == "after"


def test_without_a_check_nobody_can_tell(tmp_path: Path) -> None:
    step = make_shell_step("touch done", repo=tmp_path)
    before = step.capture()
    assert step.state(before) == "unknown"
    step.apply(before, "k")
    assert step.state(before) == "unknown"


@pytest.mark.parametrize("check", ["exit 2", "kill -9 $$", "sleep 300"])
def test_a_check_that_fails_otherwise_cannot_tell(tmp_path: Path, check: str) -> None:
    step = make_shell_step("true", check, tmp_path, timeout=200)
    assert step.state({}) == "unknown"


def test_a_command_that_fails_says_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match=r"ended with 3: no such \| thing") as caught:
        make_shell_step("echo many; echo no such >&2; echo thing >&2; exit 3").apply({}, "k")

    assert not caught.value.may_have_happened


def test_a_command_that_ended_well_and_changed_nothing_has_failed(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="ended well, yet its check ended with 1"):
        make_shell_step("true", "exit 1").apply({}, "k")


def test_a_command_gets_the_key_of_its_step_and_its_environment(tmp_path: Path) -> None:
    said = make_shell_step("echo $WATCHDOG_STEP_KEY $MORE", env={"MORE": "m"}).apply({}, "run 7 level 0.1")

    assert said.endswith("ended well: run 7 level 0.1 m")


def test_a_command_sees_nothing_of_our_own_environment_but_what_it_inherits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-ours")
    monkeypatch.setenv("API_KEY", "k3y")
    script = "echo ${SLACK_BOT_TOKEN-none} ${API_KEY-none}"

    assert make_shell_step(script).apply({}, "k").endswith(": none none")
    assert make_shell_step(script, inherit=["API_KEY"]).apply({}, "k").endswith(": none k3y")
    assert make_shell_step("true", "test $API_KEY = k3y", inherit=["API_KEY"]).state({}) == "after"
    monkeypatch.delenv("API_KEY")
    with pytest.raises(ActionError, match="the environment has no API_KEY — set it for the service"):
        make_shell_step(script, inherit=["API_KEY"]).capture()


def test_the_folder_is_the_targets_repo_or_one_below_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert make_shell_step("pwd", repo=tmp_path).apply({}, "k").endswith(f": {tmp_path}")
    assert make_shell_step("pwd", repo=tmp_path, cwd="sub").apply({}, "k").endswith(f": {tmp_path}/sub")
    assert make_shell_step("pwd", repo=tmp_path, cwd="/").apply({}, "k").endswith(": /")
    with pytest.raises(ActionError, match="give the target a repo"):
        make_shell_step("pwd", cwd="sub")


def test_no_shell_reads_the_arguments(tmp_path: Path) -> None:
    step = make_action(do="command", run=[sys.executable, "-c", "import sys; print(sys.argv[1])", "$(id); *"])
    assert step.apply({}, "k").endswith(": $(id); *")


@pytest.mark.parametrize("key", ["run", "check"])
def test_a_program_that_cannot_be_started_is_said_ahead_of_the_act(tmp_path: Path, key: str) -> None:
    script = tmp_path / "stop.sh"
    step = make_action(**{"do": "command", "run": ["true"], key: ["./stop.sh"]}).bind(Target(repo=str(tmp_path)))
    with pytest.raises(ActionError, match=r"there is no program \./stop\.sh"):
        step.capture()

    script.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(ActionError, match=r"\./stop\.sh may not be run — .*chmod \+x it"):
        step.capture()

    script.chmod(0o755)
    assert step.capture() == {"check": 1 if key == "check" else None}


def test_a_command_over_its_time_may_have_happened(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="not done after") as caught:
        make_shell_step("sleep 300", timeout=200).apply({}, "k")

    assert caught.value.may_have_happened


@pytest.mark.parametrize(
    "fields", [{}, {"run": []}, {"run": "echo x"}, {"run": ["x"], "check": []}, {"run": ["x"], "leaves": "x is off"}]
)
def test_a_step_without_a_program_is_refused_at_load(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_action(do="command", **fields)


def test_what_tripped_stands_on_stdin_and_in_no_word_of_the_command(tmp_path: Path) -> None:
    step = make_shell_step("cat > told", repo=tmp_path)
    trip = {"id": 7, "trips": [{"labels": {"symbol": "$(touch x)\n"}, "reason": "above 5 %"}]}

    step.apply(step.capture(), "k", trip)
    assert json.loads((tmp_path / "told").read_text()) == trip
    step.apply(step.capture(), "k")
    assert (tmp_path / "told").read_text() == ""
