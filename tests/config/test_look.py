"""`check` looks whether what the plans name is there, where the target is at hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.actions import GitRepo
from watchdog.cli.command_line import main
from watchdog.core.model import JsonObject

RULES = """\
targets:
  alpha: {repo: alpha}
kpis: {rate: {expr: rate_now, unit: ratio}}
rules: [{name: hot, kpi: rate, target: alpha, crit: {above: 15%, for: 2s, plan: fix}}]
plans:
  fix:
    kind: repair
    mode: auto
    exhausted: leave-running
    verify: {quiet: 1m}
    levels:
      - name: first
        steps:
          - STEP
"""
MAIN = "sources: {host: {type: host, every: 1s}}\nchannels: {chat: {type: slack, token: xoxb-12345678, channel: C0123456}}\n"


class Checked:
    """What `check` says of a plan with one step."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.repo = GitRepo(folder / "alpha")
        self.repo.commit("one", config__py="FEATURE_HMM_V2 = True\n", settings__yaml="mode: fast\n")
        self.repo.git("tag", "hmm-v2-merge")
        self._capsys = capsys
        (folder / "rules").mkdir()
        (folder / "watchdog.yaml").write_text(f"{MAIN}state: {folder / 'state'}\n")

    def write(self, step: str, edit: Callable[[str], str] = str) -> None:
        (self.folder / "rules/r.yaml").write_text(edit(RULES.replace("STEP", step)))

    def check(self, step: str, edit: Callable[[str], str] = str, *options: str) -> str:
        """Its exit code, and what stands of this."""
        self.write(step, edit)
        code = main(["check", *options, "--config", str(self.folder)])
        said = self._capsys.readouterr()
        lines = [
            line.replace(f"{self.folder}/", "")
            for line in (said.out + said.err).splitlines()
            if any(word in line for word in ("r.yaml", "note: plan", "note: what", "error", "well: "))
        ]
        return "\n".join([str(code), *lines])

    def check_json(self, step: str, edit: Callable[[str], str] = str) -> JsonObject:
        self.write(step, edit)
        main(["check", "--json", "--config", str(self.folder)])
        told: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return told


@pytest.fixture
def checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Checked:
    return Checked(tmp_path, capsys)


WELL = "0\nwell: 1 rule, 1 KPI, 1 plan, 1 target, 1 source, 1 channel"


@pytest.mark.slow
def test_what_is_there_and_fits_is_well(checked: Checked) -> None:
    assert checked.check("{do: flag, file: config.py, set: {FEATURE_HMM_V2: false}}") == WELL
    assert checked.check("{do: git, revert: hmm-v2-merge}") == WELL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "at", "said"),
    [
        (
            "{do: flag, file: config.py, set: {FEATURE_HMM_V3: false}}",
            "false",
            "FEATURE_HMM_V3 is not set in config.py — did you mean FEATURE_HMM_V2?",
        ),
        (
            "{do: flag, file: config.py, set: {FEATURE_HMM_V2: off}}",
            "off",
            "FEATURE_HMM_V2 in config.py is true or false there (True), and 'off' is a text in these files, not a truth "
            "value as in older YAML: the bot may well take it for true — write false, without quotes",
        ),
        (
            "{do: flag, file: confg.py, set: {FEATURE_HMM_V2: false}}",
            "confg.py",
            "there is no file alpha/confg.py — did you mean config.py?",
        ),
        (
            "{do: git, revert: hmm-v2-merg}",
            "hmm-v2-merg",
            "alpha knows no commit hmm-v2-merg — did you mean hmm-v2-merge?",
        ),
        ("{do: git, to: 0123abcd}", "0123abcd", "alpha knows no commit 0123abcd — fetch it, or mend the name"),
        (
            "{do: git, files: [config.py, none.py], from: hmm-v2-merge}",
            "none.py",
            "none.py is not in hmm-v2-merge — mend the name, or say another commit in from",
        ),
        ("{do: command, run: [./close_all.sh], check: ['true']}", "./close_all", "there is no program ./close_all.sh"),
    ],
)
def test_what_is_not_there_or_does_not_fit_is_a_mistake_at_its_place(
    checked: Checked, step: str, at: str, said: str
) -> None:
    column = f"          - {step}".index(at) + 1

    assert checked.check(step) == f"1\nrules/r.yaml:14:{column}: target alpha: {said}\n1 error"


def test_a_program_that_is_to_prove_a_level_is_looked_for_where_it_is_named(checked: Checked) -> None:
    told = checked.check_json(
        "{do: git, revert: hmm-v2-merge}",
        lambda text: text.replace("{quiet: 1m}", "{quiet: 1m, run: [./scripts/verify.sh]}"),
    )

    assert [(each["line"], each["what"]) for each in told["errors"]] == [
        (10, "target alpha: there is no program ./scripts/verify.sh")
    ]


@pytest.mark.slow
def test_a_version_that_is_not_deployed_now_is_a_note(checked: Checked) -> None:
    checked.repo.git("switch", "-q", "-c", "wild")
    checked.repo.commit("wild", wild__py="W = 1\n")
    checked.repo.git("switch", "-q", "main")

    note = (
        f"note: plan fix, target alpha: wild is in {checked.folder}/alpha, and not deployed now: nothing to take back"
    )
    assert checked.check("{do: git, revert: wild}") == WELL.replace(
        "\n", f"\n{note.replace(f'{checked.folder}/', '')}\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "step",
    [
        "{do: git, to: last-good}",
        "{do: archive, paths: [state.json], into: old}",
        "{do: restore, file: state.json, from: state.json.backup}",
        "{do: command, run: [no-such-program-here], check: ['true']}",
    ],
)
def test_what_comes_and_goes_by_itself_is_a_warning(checked: Checked, step: str) -> None:
    told = checked.check(step).splitlines()

    assert told[0] == "0"
    assert told[1].startswith("rules/r.yaml:14:")
    assert told[1].endswith("(warning)")


def test_where_nobody_can_look_that_is_said_once_and_is_no_mistake(checked: Checked) -> None:
    two = "{do: git, revert: nonsense}\n          - {do: git, to: nonsense}"

    told = checked.check(two, lambda text: text.replace("repo: alpha", "repo: /nowhere/bot"))

    note = (
        "note: what plans name on alpha was not looked at: /nowhere/bot: No such file or directory — "
        "mend the target's repo, or the folder"
    )
    assert told == WELL.replace("\n", f"\n{note}\n")


@pytest.mark.slow
def test_each_target_that_may_come_to_a_plan_is_looked_at(checked: Checked) -> None:
    beta = GitRepo(checked.folder / "beta")
    beta.commit("one", config__py="FEATURE_HMM_V1 = True\n")

    def with_beta(text: str) -> str:
        text = text.replace("targets:\n", "targets:\n  gamma: {repo: /nowhere/gamma}\n  beta: {repo: beta}\n")
        more = ", ".join(
            f"{{name: hot-{name}, kpi: rate, target: {name}, crit: {{above: 15%, for: 2s, plan: fix}}}}"
            for name in ("beta", "gamma")
        )
        return text.replace("plan: fix}}]", f"plan: fix}}}}, {more}]")

    told = checked.check_json("{do: flag, file: config.py, set: {FEATURE_HMM_V2: false}}", with_beta)

    assert [(each["what"], each["cure"]) for each in told["errors"]] == [
        ("target beta: FEATURE_HMM_V2 is not set in config.py", "did you mean FEATURE_HMM_V1?")
    ]


@pytest.mark.slow
def test_a_plan_is_looked_at_as_it_is_for_each_target(checked: Checked) -> None:
    beta = GitRepo(checked.folder / "beta")
    beta.commit("one", config__py="FEATURE_B = True\n")

    def with_variables(text: str) -> str:
        targets = "alpha: {repo: alpha, vars: {flag: FEATURE_HMM_V2}}\n  beta: {repo: beta, vars: {flag: FEATURE_A}}"
        return text.replace("alpha: {repo: alpha}", targets).replace("target: alpha", "target: [alpha, beta]")

    told = checked.check_json("{do: flag, file: config.py, set: {'${flag}': false}}", with_variables)

    assert [(each["line"], each["what"], each["cure"]) for each in told["errors"]] == [
        (15, "target beta: FEATURE_A is not set in config.py", "did you mean FEATURE_B?")
    ]


@pytest.mark.slow
def test_another_mistake_keeps_nobody_from_looking(checked: Checked) -> None:
    told = checked.check_json(
        "{do: git, revert: nonsense}", lambda text: f"{text}  other: {{kind: halt, levels: []}}\n"
    )

    assert [each["what"].partition(" ")[0] for each in told["errors"]] == ["target", "levels"]


@pytest.mark.slow
def test_a_switch_word_is_doubted_where_nobody_has_held_it_against_the_file(checked: Checked) -> None:
    step = "{do: flag, file: settings.yaml, set: {mode: off, size: 'no', deep: On}}"

    told = checked.check_json(step, lambda text: text.replace("repo: alpha", "repo: /nowhere/bot"))

    doubts = [(each["line"], each["what"], each["cure"]) for each in told["warnings"] if each["line"] == 14]
    assert doubts == [
        (14, f"{word} is a text in these files, and no truth value as in older YAML", cure)
        for word, cure in (
            ("off", "say false, or put the text in quotes"),
            ("On", "say true, or put the text in quotes"),
        )
    ]
    assert checked.check("{do: flag, file: settings.yaml, set: {mode: off}}") == WELL  # a text there, too


@pytest.mark.parametrize("option", ["--explain=hot", "--export=prometheus"])
def test_who_asks_for_something_else_is_not_kept_waiting(checked: Checked, option: str) -> None:
    assert checked.check("{do: git, revert: nonsense}", str, option).startswith("0")


def test_the_daemon_reads_what_is_not_there_yet(checked: Checked) -> None:
    from watchdog import config

    checked.write("{do: git, revert: comes-with-the-next-version}")

    assert config.load(checked.folder, environ={}).plans
