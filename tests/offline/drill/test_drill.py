"""A drill tells today what would fail tonight, and leaves everything as it is."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from watchdog.cli.command_line import main
from watchdog.core.target import ProcessSpec, Target
from watchdog.offline.drill.rehearse import RowResult, rehearse_plan
from watchdog.plans.models import Plan

_CONFIG = "GLOBAL_TRADING = True  # read every second\nFEATURE_V2 = True\n"


def run_git(repo: Path, *args: str) -> str:
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    named = ("-c", "user.name=dev", "-c", "user.email=dev@example.invalid")
    return subprocess.run(
        ["git", *named, *args], cwd=repo, env=environ, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A bot with a merge `v2-merge` on top, and an ignored file of secrets."""
    repo = tmp_path / "bot"
    repo.mkdir()
    run_git(repo, "init", "-q", "-b", "main")
    (repo / "config.py").write_text("GLOBAL_TRADING = True  # read every second\n")
    (repo / "model.py").write_text("VERSION = 1\n")
    (repo / ".gitignore").write_text(".env\n")
    (repo / ".env").write_text("LIVE=true\n")
    run_git(repo, "add", "-A")
    run_git(repo, "commit", "-q", "-m", "v1")
    run_git(repo, "tag", "v1")
    run_git(repo, "switch", "-q", "-c", "v2")
    (repo / "config.py").write_text(_CONFIG)
    (repo / "model.py").write_text("VERSION = 2\n")
    run_git(repo, "commit", "-q", "-am", "v2")
    run_git(repo, "switch", "-q", "main")
    run_git(repo, "merge", "-q", "--no-ff", "-m", "Merge v2", "v2")
    run_git(repo, "tag", "v2-merge")
    return repo


def make_plan(*levels: list[dict[str, object]], **more: object) -> Plan:
    text = {
        "kind": "repair",
        "mode": "auto",
        "exhausted": "leave-running",
        "verify": {"quiet": "1m"},
        "levels": [{"name": f"l{n}", "steps": steps} for n, steps in enumerate(levels, 1)],
        **more,
    }
    return TypeAdapter(Plan).validate_python(text)


FLAG_STEP: dict[str, object] = {"do": "flag", "file": "config.py", "set": {"FEATURE_V2": False}}
REVERT_STEP: dict[str, object] = {"do": "git", "revert": "v2-merge"}
TRADING_OFF_STEP: dict[str, object] = {"do": "flag", "file": "config.py", "set": {"GLOBAL_TRADING": False}}
TRADING_ON_STEP: dict[str, object] = {"do": "flag", "file": "config.py", "set": {"GLOBAL_TRADING": True}}


def make_target(repo: Path) -> Target:
    return Target(repo=str(repo))


def problems(rows: list[RowResult]) -> list[str]:
    return [problem for row in rows for problem in row.problems]


def file_fingerprints(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file below a folder: mode, time of change, content. Git's own times too."""
    return {
        str(path): (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_ladder_that_works_is_climbed_to_its_end_with_every_diff(repo: Path) -> None:
    rows = rehearse_plan(
        make_plan([FLAG_STEP], [REVERT_STEP], before=[TRADING_OFF_STEP], proven=[TRADING_ON_STEP]), make_target(repo)
    )

    assert [row.name for row in rows] == ["before", "l1", "l2", "proven"]
    assert problems(rows) == []
    assert "-FEATURE_V2 = True\n+FEATURE_V2 = False" in rows[1].steps[0].diff
    assert "+VERSION = 1" in rows[2].steps[0].diff
    assert "kept GLOBAL_TRADING = false" in rows[2].steps[0].detail


def test_nothing_of_the_bot_is_touched(repo: Path) -> None:
    (repo / "model.py").write_text("VERSION = 2  # edited by hand, elsewhere than in the plan's lines\n")
    status = run_git(repo, "status", "--porcelain")
    was = file_fingerprints(repo)

    rehearse_plan(
        make_plan([FLAG_STEP], [{"do": "git", "to": "v1"}], before=[TRADING_OFF_STEP], proven=[TRADING_ON_STEP]),
        make_target(repo),
    )

    assert file_fingerprints(repo) == was
    assert run_git(repo, "status", "--porcelain") == status


def test_a_version_that_is_not_deployed_today_is_told_and_is_no_reason(repo: Path) -> None:
    run_git(repo, "reset", "-q", "--hard", "v1")

    rows = rehearse_plan(make_plan([REVERT_STEP], [{"do": "git", "to": "v1"}]), make_target(repo))

    assert problems(rows) == []
    assert [[(step.say, step.how) for step in row.steps] for row in rows] == [
        [("git revert v2-merge", "not deployed now")],
        [("git back to v1", "so already")],
    ]


def test_a_version_that_was_taken_back_before_is_so_already(repo: Path) -> None:
    run_git(repo, "revert", "-m", "1", "--no-edit", "v2-merge")

    rows = rehearse_plan(make_plan([REVERT_STEP]), make_target(repo))

    assert problems(rows) == []
    assert rows[0].steps[0].how == "so already"


def test_a_tag_that_is_not_there_is_the_reason_with_the_one_that_was_meant(repo: Path) -> None:
    (problem,) = problems(rehearse_plan(make_plan([{"do": "git", "revert": "v2-merg"}]), make_target(repo)))

    assert problem == f"git revert v2-merg: {repo} knows no commit v2-merg — did you mean v2-merge?"


def test_a_value_that_the_bot_would_take_for_true_is_the_reason(repo: Path) -> None:
    (problem,) = problems(rehearse_plan(make_plan([{**FLAG_STEP, "set": {"FEATURE_V2": "off"}}]), make_target(repo)))

    assert "'off' is a text in these files" in problem
    assert (repo / "config.py").read_text() == _CONFIG


def test_a_persons_edit_in_the_way_of_the_revert_is_the_reason(repo: Path) -> None:
    (repo / "model.py").write_text("VERSION = 3\n")

    (problem,) = problems(rehearse_plan(make_plan([REVERT_STEP]), make_target(repo)))

    assert "edited or in the way" in problem
    assert "model.py" in problem


def test_a_revert_that_conflicts_is_the_reason(repo: Path) -> None:
    (repo / "model.py").write_text("VERSION = 4\n")
    run_git(repo, "commit", "-q", "-am", "v4")

    (problem,) = problems(rehearse_plan(make_plan([REVERT_STEP]), make_target(repo)))

    assert "later commits changed the same lines" in problem


def test_a_flag_that_is_not_there_is_the_reason_and_later_rows_are_rehearsed_all_the_same(repo: Path) -> None:
    rows = rehearse_plan(make_plan([{**FLAG_STEP, "set": {"FEATURE_V3": False}}], [REVERT_STEP]), make_target(repo))

    assert "FEATURE_V3" in rows[0].problems[0]
    assert rows[1].problems == ()


def test_files_that_git_ignores_and_files_elsewhere_are_copied_too(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("live = true\n")
    steps: list[dict[str, object]] = [
        {"do": "flag", "file": ".env", "set": {"LIVE": False}},
        {"do": "flag", "file": str(tmp_path / "other.toml"), "set": {"live": False}},
        REVERT_STEP,
    ]

    rows = rehearse_plan(make_plan(steps), make_target(repo))

    assert problems(rows) == []
    assert [step.how for step in rows[0].steps] == ["done", "done", "done"]
    assert (tmp_path / "other.toml").read_text() == "live = true\n"
    assert str(tmp_path / "other.toml") in rows[0].steps[1].diff


def test_what_touches_the_outside_is_looked_at_and_not_done(repo: Path, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    steps: list[dict[str, object]] = [
        {"do": "command", "run": ["touch", str(witness)]},
        {"do": "process", "restart": "process"},
        {"do": "command", "run": ["no-such-program-here"]},
    ]
    place = ProcessSpec(pid_file="bot.pid", command=("python3", "bot.py"))

    rows = rehearse_plan(make_plan(steps), Target(repo=str(repo), process=place))

    assert [step.how for step in rows[0].steps] == ["looked at", "looked at", "fails"]
    assert problems(rows) == ["run no-such-program-here: there is no program no-such-program-here"]
    assert not witness.exists()


def test_a_step_that_does_not_fit_the_target_says_so_in_its_own_row(repo: Path) -> None:
    rows = rehearse_plan(make_plan([FLAG_STEP], [{"do": "systemd", "restart": "unit"}]), make_target(repo))

    assert [(row.name, bool(row.problems)) for row in rows] == [("l1", False), ("l2", True)]
    assert "the target has no unit" in rows[1].problems[0]


def test_a_repository_that_is_not_there_is_said_once(tmp_path: Path) -> None:
    (row,) = rehearse_plan(make_plan([REVERT_STEP], [{"do": "git", "to": "v1"}]), make_target(tmp_path / "none"))

    assert row.name == "copies"
    assert len(row.problems) == 1


def test_a_program_that_verify_asks_must_be_there(repo: Path) -> None:
    rows = rehearse_plan(make_plan([FLAG_STEP], verify={"quiet": "1m", "run": ["./no-such-check"]}), make_target(repo))

    assert problems(rows) == ["verify: there is no program ./no-such-check"]


def test_detached_and_shallow_repositories_are_rehearsed_too(repo: Path, tmp_path: Path) -> None:
    run_git(repo, "checkout", "-q", "--detach")
    assert problems(rehearse_plan(make_plan([REVERT_STEP]), make_target(repo))) == []

    shallow = tmp_path / "shallow"
    run_git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repo}", str(shallow))
    (problem,) = problems(rehearse_plan(make_plan([{"do": "git", "revert": "HEAD"}]), make_target(shallow)))
    assert "unshallow" in problem


def test_a_target_without_git_rehearses_its_flags(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text(_CONFIG)

    assert problems(rehearse_plan(make_plan([FLAG_STEP]), Target(repo=str(tmp_path)))) == []
    assert (tmp_path / "config.py").read_text() == _CONFIG


@pytest.mark.slow
def test_the_command_line_says_so_and_how(repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "watchdog.yaml").write_text("sources: {host: {type: host, every: 5s}}\nstate: state\n")
    (tmp_path / "rules" / "r.yaml").write_text(
        "targets: {bot: {repo: bot}}\n"
        "kpis: {rate: {expr: rate_now, unit: ratio}}\n"
        "rules: [{name: flapping, kpi: rate, target: bot, crit: {above: 15%, for: 2s, plan: v2}}]\n"
        "plans: {v2: {kind: repair, mode: auto, exhausted: leave-running, verify: {quiet: 1m},\n"
        "  levels: [{name: version, steps: [{do: git, revert: v2-merge}]}]}}\n"
    )

    assert main(["drill", "v2", "--config", str(tmp_path)]) == 0
    assert "it would work tonight" in capsys.readouterr().out
    run_git(repo, "reset", "-q", "--hard", "v1")
    assert main(["drill", "v2", "--config", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "git revert v2-merge: not deployed now" in said
    assert "it would work tonight" in said
    assert main(["rollback", "v2", "--dry-run", "--config", str(tmp_path)]) == 0
    assert "nothing to change: not deployed now" in capsys.readouterr().out
    run_git(repo, "tag", "-d", "v2-merge")
    assert main(["drill", "v2", "--config", str(tmp_path), "--json"]) == 1
    assert "v2-merge" in json.loads(capsys.readouterr().out)["bot"][0]["problems"][0]
    assert main(["drill", "v9", "--config", str(tmp_path)]) == 1
    assert "there is no plan 'v9' — known: v2" in capsys.readouterr().err


def test_a_version_that_was_squashed_and_changed_is_told_beforehand(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_git(repo, "reset", "-q", "--hard", "v1")
    run_git(repo, "merge", "-q", "--squash", "v2-merge")
    run_git(repo, "commit", "-q", "-m", "v2 (#3)")
    (result,) = rehearse_plan(make_plan([REVERT_STEP]), make_target(repo))[0].steps
    assert (result.how, "v2-merge itself is not part of what runs; its changes are, as " in result.detail) == (
        "done",
        True,
    )

    (repo / "model.py").write_text((repo / "model.py").read_text() + "MENDED = 1\n")
    run_git(repo, "commit", "-q", "-a", "--amend", "-m", "v2 (#3)")
    (problem,) = problems(rehearse_plan(make_plan([REVERT_STEP]), make_target(repo)))
    assert "v2-merge is not part of what runs" in problem


def test_a_merge_made_the_other_way_round_is_rehearsed_as_the_night_would_take_it_back(repo: Path) -> None:
    before = run_git(repo, "rev-parse", "HEAD").strip()
    run_git(repo, "switch", "-q", "-c", "feature", "v1")
    (repo / "feature.py").write_text("F = 1\n")
    run_git(repo, "add", "feature.py")
    run_git(repo, "commit", "-q", "-m", "feature")
    run_git(repo, "merge", "-q", "-m", "Merge branch 'main' into feature", before)
    run_git(repo, "tag", "turned")
    run_git(repo, "switch", "-q", "-")
    run_git(repo, "merge", "-q", "--ff-only", "turned")

    (result,) = rehearse_plan(make_plan([{"do": "git", "revert": "turned"}]), make_target(repo))[0].steps

    assert result.how == "done"
    assert "a/feature.py" in result.diff
    assert "model.py" not in result.diff
