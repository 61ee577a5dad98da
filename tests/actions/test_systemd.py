from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.support.actions import json_round_trip, make_action
from watchdog.actions import systemd
from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.core.target import ProcessSpec, Target
from watchdog.host import child_process, systemctl
from watchdog.plans.models import Plan

FAKE_SYSTEMCTL = """\
#!{python}
import json, pathlib, sys, time
folder = pathlib.Path({folder!r})
unit = json.loads((folder / "unit.json").read_text())
options = [word for word in sys.argv[1:] if word.startswith("-")]
verb, *names = [word for word in sys.argv[1:] if not word.startswith("-")]
with (folder / "calls").open("a") as calls:
    calls.write(" ".join([verb, *names]) + "\\n")
assert "--no-ask-password" in options and "--" in options, options
time.sleep(unit.get("slow", 0) if verb != "show" else 0)
if verb == "show":
    facts = dict(LoadState="loaded", SubState="running", Result="success", NRestarts="0", ExecMainStatus="0")
    then = unit.get("then", [])
    facts["FragmentPath"] = "/usr/local/lib/systemd/system/bot.service"
    facts.update({{k: v for k, v in unit.items() if k[0].isupper()}})
    if then:
        unit.update(then.pop(0))
    print("\\n".join(f"{{k}}={{v}}" for k, v in facts.items()))
elif unit.get("refuse"):
    sys.exit(f"Failed to {{verb}} unit: {{unit['refuse']}}")
elif verb == "mask":
    unit.update(LoadState="masked")
elif verb == "reset-failed":
    unit.update(Result="success", ActiveState="inactive")
elif verb == "stop":
    unit.update({{"ActiveState": "inactive", "SubState": "dead", "InvocationID": "", **unit.get("after", {{}})}})
elif unit.get("Result") == "start-limit-hit":
    sys.exit("Job for bot.service failed. Start request repeated too quickly.")
else:
    new = str(int(unit["InvocationID"] or 0) + 1)
    unit.update({{"ActiveState": "active", "SubState": "running", "InvocationID": new, **unit.get("after", {{}})}})
    if unit["ActiveState"] == "failed":
        (folder / "unit.json").write_text(json.dumps(unit))
        sys.exit("Job for bot.service failed because the control process exited with error code.")
(folder / "unit.json").write_text(json.dumps(unit))
"""


class FakeSystemctl:
    """A systemctl that keeps one unit in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "systemctl").write_text(FAKE_SYSTEMCTL.format(python=f"{sys.executable} -IS", folder=str(folder)))
        (folder / "systemctl").chmod(0o755)
        self.set_state(ActiveState="active", InvocationID="1")

    def set_state(self, **facts: Any) -> None:
        (self.folder / "unit.json").write_text(json.dumps({"ActiveState": "active", "InvocationID": "1", **facts}))

    def calls(self) -> list[str]:
        """Other than looking."""
        lines = (self.folder / "calls").read_text().splitlines() if (self.folder / "calls").exists() else []
        return [line for line in lines if not line.startswith("show")]


@pytest.fixture
def fake_systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSystemctl:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return FakeSystemctl(tmp_path)


def make_step(verb: str, name: str = "unit", **more: Any) -> Action:
    return make_action(do="systemd", **{verb: name}, **more).bind(Target(unit="bot.service"))


def test_a_restart_is_done_when_the_unit_runs_with_another_invocation(fake_systemctl: FakeSystemctl) -> None:
    restart = make_step("restart")
    before = json_round_trip(restart.capture())
    assert restart.state(before) == "before"
    assert restart.apply(before, "k") == "bot.service is active (running)"

    assert restart.state(before) == "after"
    assert fake_systemctl.calls() == ["restart bot.service"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "facts", "state"),
    [
        ("restart", {"ActiveState": "active", "InvocationID": "1"}, "before"),
        ("restart", {"ActiveState": "active", "InvocationID": "2"}, "after"),
        ("restart", {"ActiveState": "inactive", "InvocationID": ""}, "stopped"),
        ("restart", {"ActiveState": "inactive", "InvocationID": "", "Result": "exit-code"}, "before"),
        ("restart", {"ActiveState": "failed", "InvocationID": "2"}, "before"),
        ("restart", {"ActiveState": "activating", "InvocationID": "2"}, "unknown"),
        ("restart", {"ActiveState": "activating", "SubState": "auto-restart", "InvocationID": "2"}, "before"),
        ("restart", {"ActiveState": "deactivating", "InvocationID": "1"}, "unknown"),
        ("start", {"ActiveState": "active", "InvocationID": "1"}, "after"),
        ("start", {"ActiveState": "failed", "InvocationID": "1"}, "before"),
        ("start", {"ActiveState": "reloading", "InvocationID": "1"}, "unknown"),
        ("start", {"ActiveState": "activating", "SubState": "auto-restart"}, "before"),
        ("stop", {"ActiveState": "active"}, "before"),
        ("stop", {"ActiveState": "inactive"}, "after"),
        ("stop", {"ActiveState": "failed"}, "after"),
        ("stop", {"ActiveState": "activating"}, "before"),
        ("stop", {"ActiveState": "deactivating"}, "unknown"),
        ("start", {"LoadState": "not-found"}, "unknown"),
    ],
)
def test_what_the_unit_says_is_the_state(
    fake_systemctl: FakeSystemctl, verb: str, facts: dict[str, str], state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_SETTLE_TIMEOUT", 0.05)
    before = make_step(verb).capture()
    fake_systemctl.set_state(**facts)

    assert make_step(verb).state(before) == state


def test_a_unit_on_its_way_is_given_a_moment(fake_systemctl: FakeSystemctl) -> None:
    before = make_step("restart").capture()
    fake_systemctl.set_state(ActiveState="activating", InvocationID="2", then=[{}, {"ActiveState": "active"}])

    assert make_step("restart").state(before) == "after"


def test_a_unit_that_crashed_too_often_is_forgiven_once(fake_systemctl: FakeSystemctl) -> None:
    fake_systemctl.set_state(ActiveState="failed", Result="start-limit-hit")
    restart = make_step("restart")
    restart.apply(restart.capture(), "k")

    assert fake_systemctl.calls() == ["reset-failed bot.service", "restart bot.service"]


def test_a_unit_that_reaches_the_limit_by_this_very_restart_is_tried_once_more(fake_systemctl: FakeSystemctl) -> None:
    restart = make_step("restart")
    before = restart.capture()
    fake_systemctl.set_state(then=[{"Result": "start-limit-hit", "ActiveState": "failed"}])
    restart.apply(before, "k")

    assert fake_systemctl.calls() == ["restart bot.service", "reset-failed bot.service", "restart bot.service"]


def test_a_unit_that_does_not_come_up_is_told_with_its_result(fake_systemctl: FakeSystemctl) -> None:
    restart = make_step("restart")
    before = restart.capture()
    fake_systemctl.set_state(after={"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "3"})
    with pytest.raises(ActionError, match=r"exited with error code.*failed \(exit-code, status 3\)") as caught:
        restart.apply(before, "k")

    assert not caught.value.may_have_happened
    assert restart.state(before) == "before"


def test_a_unit_that_ends_right_after_its_restart_is_not_taken_for_running(fake_systemctl: FakeSystemctl) -> None:
    restart = make_step("restart")
    before = restart.capture()
    fake_systemctl.set_state(after={"ActiveState": "inactive", "SubState": "dead"})
    with pytest.raises(ActionError, match=r"was restarted and is inactive \(dead\)"):
        restart.apply(before, "k")


def test_a_restart_that_changed_nothing_may_have_happened(fake_systemctl: FakeSystemctl) -> None:
    restart = make_step("restart")
    before = restart.capture()
    fake_systemctl.set_state(after={"InvocationID": "1"})
    with pytest.raises(ActionError, match="runs as it did before") as caught:
        restart.apply(before, "k")

    assert caught.value.may_have_happened


def test_a_stop_leaves_the_unit_inactive(fake_systemctl: FakeSystemctl) -> None:
    stop = make_step("stop")
    before = stop.capture()
    assert stop.apply(before, "k") == "bot.service is inactive (dead)"
    assert stop.state(before) == "after"
    fake_systemctl.set_state(after={"ActiveState": "active"})
    with pytest.raises(ActionError, match="was stopped and is active"):
        stop.apply(before, "k")


@pytest.mark.parametrize(
    ("says", "cure"),
    [
        ("Interactive authentication required.", "trading-watchdog polkit --write"),
        ("System has not been booted with systemd as init system", "do: process"),
    ],
)
def test_what_systemctl_refuses_comes_with_a_cure(fake_systemctl: FakeSystemctl, says: str, cure: str) -> None:
    restart = make_step("restart")
    before = restart.capture()
    fake_systemctl.set_state(refuse=says)
    with pytest.raises(ActionError, match=cure):
        restart.apply(before, "k")


def test_a_unit_that_systemd_does_not_know_or_that_is_masked_is_told_beforehand(fake_systemctl: FakeSystemctl) -> None:
    fake_systemctl.set_state(LoadState="not-found")
    with pytest.raises(ActionError, match="knows no unit bot"):
        make_step("restart").capture()
    fake_systemctl.set_state(LoadState="masked", ActiveState="inactive")
    with pytest.raises(ActionError, match="systemctl unmask"):
        make_step("start").capture()
    make_step("stop").capture()


def test_a_systemctl_that_hangs_is_ended_and_may_have_happened(fake_systemctl: FakeSystemctl) -> None:
    restart = make_step("restart", timeout=300)
    before = restart.capture()
    fake_systemctl.set_state(slow=300)
    with pytest.raises(ActionError, match="not done after") as caught:
        restart.apply(before, "k")

    assert caught.value.may_have_happened


def test_without_systemctl_nothing_can_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ActionError, match=r"systemctl is not on this machine — .*do: process"):
        make_step("restart").capture()
    assert make_step("restart").state({"invocation": "1"}) == "unknown"


def test_the_word_unit_is_the_targets_unit_and_another_name_stands_for_itself() -> None:
    assert make_step("restart").describe() == "restart bot.service"
    assert make_step("stop", "feed@eur.timer").describe() == "stop feed@eur.timer"
    with pytest.raises(ActionError, match="the target has no unit"):
        make_action(do="systemd", restart="unit").bind(Target())
    with pytest.raises(ActionError, match="the target has no unit, but a process"):
        make_action(do="systemd", restart="unit").bind(Target(process=ProcessSpec(pid_file="p", command=("c",))))


@pytest.mark.parametrize(
    "fields", [{}, {"restart": "a", "stop": "b"}, {"restart": "bot-*"}, {"restart": "--all"}, {"start": "a b"}]
)
def test_a_step_that_says_no_one_unit_is_refused_at_load(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        make_action(do="systemd", **fields)


REPOSITORY = Path(__file__).parents[2]
SANDBOX = REPOSITORY / "tests/systemd/sandbox.sh"

SANDBOX_PROGRAM = """\
import json
from pathlib import Path
from watchdog.actions import SystemdAction
from watchdog.core.errors import ActionError
from watchdog.core.target import Target

told = []
def tell(step, before):
    told.append(step.state(before))
target = Target(unit="bot.service")
def step(**fields):
    return SystemdAction.model_validate({"do": "systemd", **fields}).bind(target)

start = step(start="unit")
before = start.capture()
tell(start, before)
start.apply(before, "k")
tell(start, before)

restart = step(restart="unit")
before = restart.capture()
tell(restart, before)
restart.apply(before, "k")
tell(restart, before)

for _ in range(7):  # over the unit's start limit
    again = step(restart="unit")
    before = again.capture()
    again.apply(before, "k")
    tell(again, before)

stop = step(stop="unit")
before = stop.capture()
stop.apply(before, "k")
tell(stop, before)

for name in ("broken.service", "nonesuch.service"):
    try:
        broken = step(restart=name)
        before = broken.capture()
        broken.apply(before, "k")
    except ActionError as error:
        told.append(str(error))
Path("/sandbox-out/told.json").write_text(json.dumps(told))
"""


def _sandbox_works(folder: Path) -> bool:
    if os.geteuid() != 0 or shutil.which("systemctl") is None or not Path("/lib/systemd/systemd").exists():
        return False
    (folder / "true.sh").write_text("true\n")
    return subprocess.run(["bash", SANDBOX, "-t", "60", folder, "true.sh"], capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.systemd
def test_a_real_systemd_agrees(tmp_path: Path) -> None:
    box, out = tmp_path / "box", tmp_path / "out"
    box.mkdir()
    out.mkdir()
    if not _sandbox_works(box):
        pytest.skip("needs root, systemd and namespaces")
    (box / "bot.service").write_text(
        textwrap.dedent("""\
            [Unit]
            StartLimitIntervalSec=60
            StartLimitBurst=4
            [Service]
            ExecStart=/bin/sleep 600
        """)
    )
    (box / "broken.service").write_text("[Service]\nType=oneshot\nExecStart=/bin/false\n")
    (box / "steps.py").write_text(SANDBOX_PROGRAM)
    python = Path(sys.executable)
    (box / "run.sh").write_text(f"PYTHONPATH=/watchdog-source exec {python} -B steps.py\n")
    binds = ["-b", f"{REPOSITORY}:/watchdog-source", "-b", f"{python.parent.parent}:{python.parent.parent}"]
    ran = subprocess.run(
        ["bash", SANDBOX, "-t", "120", "-o", out, *binds, box, "run.sh"], capture_output=True, text=True
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    *states, broken, nonesuch = json.loads((out / "told.json").read_text())
    assert states == ["before", "after", "before", "after", *["after"] * 7, "after"]
    assert "failed (exit-code, status 1)" in broken
    assert "knows no unit nonesuch.service" in nonesuch


def test_what_a_halt_stopped_can_be_masked_and_the_way_back_is_told(fake_systemctl: FakeSystemctl) -> None:
    stop = make_step("stop", mask=True)
    before = json_round_trip(stop.capture())
    assert stop.state(before) == "before"
    said = stop.apply(before, "k")

    assert stop.describe() == "stop and mask bot.service"
    assert said.endswith("masked, start it with: systemctl unmask bot.service && systemctl start bot.service")
    assert stop.state(before) == "after"
    assert fake_systemctl.calls() == ["stop bot.service", "mask bot.service"]


def test_stopped_and_not_yet_masked_is_before(fake_systemctl: FakeSystemctl) -> None:
    stop = make_step("stop", mask=True)
    before = stop.capture()
    fake_systemctl.set_state(ActiveState="inactive")

    assert stop.state(before) == "before"
    stop.apply(before, "k")
    assert stop.state(before) == "after"


def test_a_unit_whose_file_is_where_the_mask_would_be_is_stopped_all_the_same(fake_systemctl: FakeSystemctl) -> None:
    fake_systemctl.set_state(FragmentPath="/etc/systemd/system/bot.service")
    stop = make_step("stop", mask=True)
    before = stop.capture()

    assert "not masked, since its file is /etc/systemd/system/bot.service — keep it in /usr" in stop.apply(before, "k")
    assert stop.state(before) == "after"
    assert fake_systemctl.calls() == ["stop bot.service"]


def test_a_mask_that_systemd_refuses_is_told_and_the_unit_is_stopped(
    fake_systemctl: FakeSystemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = systemctl.run_systemctl

    def refusing(verb: str, *rest: str, **options: Any) -> child_process.CommandResult:
        if verb == "mask":
            return child_process.CommandResult(1, "", "Failed to mask unit: Access denied", b"", False)
        return real(verb, *rest, **options)

    monkeypatch.setattr("watchdog.actions.systemd.run_systemctl", refusing)
    with pytest.raises(ActionError, match=r"is stopped, and could not be masked: .* trading-watchdog polkit --write"):
        make_step("stop", mask=True).apply({}, "k")

    assert fake_systemctl.calls() == ["stop bot.service"]


def test_who_is_not_root_has_a_unit_of_roots_mask(
    fake_systemctl: FakeSystemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    stop = make_step("stop", mask=True)
    with pytest.raises(ActionError, match="is not masked although systemctl said so"):  # the fake masks nothing
        stop.apply({}, "k")

    assert fake_systemctl.calls() == ["stop bot.service", "start trading-watchdog-mask@bot.service.service"]


def test_who_was_root_has_root_mask(fake_systemctl: FakeSystemctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    monkeypatch.setattr(systemctl, "ask_root", lambda *_: None)

    assert systemctl.mask_command("bot.service") == ("mask", "--", "bot.service")
    assert fake_systemctl.calls() == []


@pytest.mark.parametrize(
    ("verb", "more", "operations"),
    [
        ("restart", {}, {("restart", "bot.service"), ("reset-failed", "bot.service")}),
        ("start", {}, {("start", "bot.service"), ("reset-failed", "bot.service")}),
        ("stop", {}, {("stop", "bot.service")}),
        (
            "stop",
            {"mask": True},
            {("stop", "bot.service"), ("mask", "bot.service")},
        ),
    ],
)
def test_a_step_says_what_it_asks_systemd_for(
    verb: str, more: dict[str, Any], operations: set[tuple[str, str]]
) -> None:
    assert set(make_step(verb, **more).unit_operations) == operations


@pytest.mark.parametrize(
    ("name", "said", "resolved"),
    [
        ("bot", "", "bot.service"),
        ("bot.socket", "", "bot.socket"),
        ("bot.v2", "", "bot.v2.service"),
        ("alias", "Id=bot.service", "bot.service"),
    ],
)
def test_a_unit_is_called_what_systemd_calls_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str, resolved: str
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\necho '{said}'\n[ '{said}' ]\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert systemctl.resolve_unit(name) == resolved


@pytest.mark.parametrize("verb", ["restart", "start"])
def test_only_what_is_stopped_can_be_masked(verb: str) -> None:
    with pytest.raises(ValidationError, match="mask goes with stop"):
        make_step(verb, mask=True)


def test_a_repair_masks_nothing() -> None:
    text = {
        "kind": "repair",
        "mode": "auto",
        "exhausted": "leave-running",
        "verify": {"quiet": "1m"},
        "levels": [{"name": "x", "steps": [{"do": "systemd", "stop": "unit", "mask": True}]}],
    }
    with pytest.raises(ValidationError, match="stop and mask unit is for halts"):
        TypeAdapter(Plan).validate_python(text)


@pytest.mark.parametrize("verb", ["restart", "start"])
def test_a_unit_that_failed_has_its_count_set_back_first(fake_systemctl: FakeSystemctl, verb: str) -> None:
    fake_systemctl.set_state(ActiveState="failed", Result="exit-code", InvocationID="1")
    said = make_step(verb).apply({"invocation": "1"}, "k")

    assert fake_systemctl.calls() == ["reset-failed bot.service", f"{verb} bot.service"]
    assert "it had failed, and its count of starts was set back" in said


@pytest.mark.parametrize(
    ("mask", "facts", "states"),
    [
        (False, {"ActiveState": "inactive"}, ["after"]),
        (False, {"ActiveState": "failed"}, ["after"]),
        (False, {"ActiveState": "active", "InvocationID": "7"}, ["before"]),
        (True, {"ActiveState": "inactive", "LoadState": "masked"}, ["after", "after"]),
        (True, {"ActiveState": "inactive"}, ["before", "after"]),  # a person has unmasked it, and not started it
        (True, {"ActiveState": "active"}, ["before", "before"]),
    ],
)
def test_what_is_stopped_and_what_is_masked_stand_each_for_itself(
    fake_systemctl: FakeSystemctl, mask: bool, facts: dict[str, str], states: list[str]
) -> None:
    stop = make_step("stop", mask=mask)
    captured = json_round_trip(stop.capture())

    fake_systemctl.set_state(**facts)

    assert list(stop.lasting_states(captured)) == states
    assert [change.by_hand for change in stop.lasting_changes(captured)][-1] == "systemctl start bot.service"


def test_a_unit_that_systemd_does_not_know_is_not_taken_for_started(fake_systemctl: FakeSystemctl) -> None:
    stop = make_step("stop")
    captured = json_round_trip(stop.capture())

    fake_systemctl.set_state(LoadState="not-found")

    with pytest.raises(ActionError, match=r"systemd knows no unit bot\.service"):
        stop.lasting_states(captured)


def test_a_unit_has_one_name_with_and_without_its_suffix() -> None:
    (short,), (full,) = make_step("start", "bot").lasting_changes(), make_step("stop", "bot.service").lasting_changes()

    assert short.thing == full.thing
