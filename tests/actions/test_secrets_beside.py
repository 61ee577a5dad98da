"""No action tells, or notes, a secret that stands beside what it changes, nor the one that it changes.

Of each action: all that it says and notes, which is what the journal, the log, messages, reports and the command line are made
of. `tests/e2e/test_secrets.py` has a night of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.actions.test_contract import CLASS_BY_NAME, FolderCopies
from tests.actions.test_http import FakeApi
from tests.actions.test_systemd import FakeSystemctl
from tests.support.actions import GitRepo, json_round_trip, make_action
from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.core.target import ProcessSpec, Target

SECRETS = ["hunter2", "s3cr3t-word", "correct horse", "pass,word", "987654321", "TheOldOne"]
"""Some look like nothing."""
JSON = (
    '{"exchange": {"key": "hunter2", "secret": "s3cr3t-word", "password": "pass,word"}, "dry_run": false, "pin": 987654321,'
    ' "x": {"api_keys": ["correct horse"]}}\n'
)
YAML = "exchange: {key: hunter2, secret: s3cr3t-word, passphrase: correct horse, dry_run: false, pin: 987654321}\n"
TOML = 'exchange = {key = "hunter2", secret = "s3cr3t-word", password = "pass,word", dry_run = false}\n'
PYTHON = (
    "C = {'key': 'hunter2', 'secret': 's3cr3t-word', 'password': 'pass,word', 'dry_run': False, 'pin': 987654321}\n"
)
ENV = "API_KEY=TheOldOne\nAPI_SECRET='s3cr3t-word'\nPASSWORD=\"correct horse\"\nDRY_RUN=false\n"
INI = "[exchange]\nkey = hunter2\nsecret = s3cr3t-word\ndry_run = false\n"
FILES = {"c.json": JSON, "c.yaml": YAML, "c.toml": TOML, "c.py": PYTHON, ".env": ENV, "c.ini": INI}

STEPS: dict[str, dict[str, Any]] = {
    "flag json": {"file": "c.json", "set": {"dry_run": True}},
    "flag json key": {"file": "c.json", "set": {"exchange.key": "", "x.api_keys": []}},
    "flag yaml": {"file": "c.yaml", "set": {"exchange.dry_run": True}},
    "flag yaml key": {"file": "c.yaml", "set": {"exchange.passphrase": None, "exchange.pin": None}},
    "flag toml": {"file": "c.toml", "set": {"exchange.dry_run": True, "exchange.key": ""}},
    "flag python": {"file": "c.py", "set": {"C.dry_run": True, "C.key": ""}},
    "flag env": {"file": ".env", "set": {"API_KEY": "", "DRY_RUN": True}},
    "flag ini": {"file": "c.ini", "set": {"exchange.key": "", "exchange.dry_run": True}},
    "flag of another type": {"file": "c.json", "set": {"exchange.key": True}},
    "flag in .env of another type": {"file": ".env", "set": {"PASSWORD": True}},
    "flag that is not there": {"file": "c.json", "set": {"exchange.kay": ""}},
    "git": {"revert": "HEAD"},
    "git files": {"files": ["c.json", ".env"], "from": "HEAD~1"},
    "restore json": {"file": "c.json", "from": "c.json.backup"},
    "restore text": {"file": "notes.txt", "from": "notes.backup"},
    "archive": {"paths": ["c.json"], "into": "archives"},
    "http": {"url": "API/stop", "check": {"url": "API/state", "expect": {"answer": {"exchange.dry_run": True}}}, "timeout": "3s"},
    "http refused": {"url": "API/refused"},
    "http without check": {"url": "API/state"},
    "command": {"run": ["cat", "c.json", "c.yaml"]},
    "command that fails": {"run": ["sh", "-c", "cat .env >&2; exit 3"]},
    "process": {"restart": "process", "alive_for": 100},
    "systemd": {"restart": "unit"},
}  # fmt: skip


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bot: GitRepo) -> Target:
    """A bot whose files are full of secrets; its API, log and programs say them, too."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    FakeSystemctl(binaries)
    monkeypatch.setenv("PATH", f"{binaries}:{os.environ['PATH']}")
    for version in ("false", "0"):
        for name, text in FILES.items():
            bot.path.joinpath(name).write_text(text.replace("false", version) if name != "c.py" else text)
        bot.path.joinpath("notes.txt").write_text(f"mode {version}; key: hunter2; password=s3cr3t-word\n")
        bot.commit(version)
    for name, text in FILES.items():
        bot.path.joinpath(name).write_text(text)
    bot.commit("as they are")
    bot.path.joinpath("c.json.backup").write_text(JSON.replace("hunter2", "TheOldOne").replace("false", "true"))
    bot.path.joinpath("notes.backup").write_text("mode off; key: TheOldOne; password=s3cr3t-word\n")
    bot.path.joinpath(".git/info/exclude").write_text("*.backup\narchives\nbot.*\n")
    starts = [
        sys.executable,
        "-c",
        "print(open('.env').read(), open('c.json').read(), flush=True); raise SystemExit(1)",
    ]
    process = ProcessSpec(pid_file="bot.pid", command=tuple(starts), log="bot.log")
    return Target(repo=str(bot.path), unit="bot.service", process=process)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    served = FakeApi()
    answer = JSON.encode()
    served.answers = {"/state": (200, answer), "/stop": (200, answer), "/refused": (400, answer)}
    yield served
    served.close()


def test_every_action_is_asked() -> None:
    assert {name.split()[0] for name in STEPS} == {*CLASS_BY_NAME}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.slow
def test_nothing_that_it_says_or_notes_holds_a_secret(name: str, target: Target, api: FakeApi, tmp_path: Path) -> None:
    fields = json.loads(json.dumps(STEPS[name]).replace("API/", f"{api.url}/"))
    step = make_action(do=name.split()[0], **fields).bind(target)
    said: list[str] = []

    carry_out(step, said)
    assert len(said) > 2
    if (again := step.redirect(FolderCopies(tmp_path / "copies"))) is not None and name.split()[0] != "git":
        carry_out(again, said)

    found = {secret: text for secret in SECRETS for text in said if secret in text}
    assert found == {}


def carry_out(step: Action, said: list[str]) -> None:
    """All that it says on the way, in whatever way it ends."""
    said += [step.describe(), *map(repr, step.findings()), *tell_all(step.lasting_changes())]
    try:
        captured = json_round_trip(step.capture())
        said += [json.dumps(captured), step.noop_reason(captured), *tell_all(step.lasting_changes(captured))]
        said.append(step.preview(captured))
        said.append(step.apply(captured, "k"))
        said.append(step.state(captured))
        said += step.lasting_states(captured)
        said.append(repr(step.commit_range(captured)))
    except ActionError as error:
        said += ["", str(error)]
    with contextlib.suppress(ActionError):
        said.append(json.dumps(json_round_trip(step.capture())))


def tell_all(changes: Any) -> list[str]:
    return [repr(one) for one in changes]
