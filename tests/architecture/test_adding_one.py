"""What CONTRIBUTING says of a new source, action or channel: one file, and one word in the union. Nothing else.

A copy of the package gets two sources (one that is asked, one that is told), an action and a channel of its own, and its
daemon goes the whole way with them: sampled, judged, tripped, acted, proven, told.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import wait_until
from tests.support import datagram_source
from tests.support.ports import free_port

PACKAGE = Path(__file__).parents[2] / "watchdog"
TOLD = Path(datagram_source.__file__).read_text()

ASKED = '''
"""A number in a file."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from watchdog.core.errors import SourceError
from watchdog.core.model import ConnectionModel, Duration, FilePath, Millis, Sample
from watchdog.core.protocols import SourceCache, SourceState


class NumberFileSource(ConnectionModel):
    """One number."""

    reads_needed: ClassVar[int] = 1

    type: Literal["number_file"]
    file: FilePath
    """Where it stands."""
    every: Duration = 100

    @property
    def deadline(self) -> Millis:
        return 1_000

    @property
    def identity(self) -> str:
        return self.file

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:
        try:
            value = float(Path(self.file).read_text())
        except (OSError, ValueError) as error:
            raise SourceError(f"{self.file} holds no number: {error}") from None
        state["reads"] = state.get("reads", 0) + 1
        return [Sample("number", (), now, value), Sample("reads_total", (), now, float(state["reads"]))]
'''

ACTION = '''
"""A file that says stop."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from watchdog.core.action_model import ActionModel
from watchdog.core.model import JsonObject


class StopFileAction(ActionModel):
    """Writes it."""

    do: Literal["stop_file"]
    file: str

    def describe(self) -> str:
        return f"write {self.file}"

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:
        Path(self.file).write_text(idempotency_key)
        return "written"
'''

CHANNEL = '''
"""A file of messages."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from watchdog.core.model import FilePath, Message, Severity
from watchdog.notifiers.channel import Channel


class TextFileNotifier(Channel):
    """A line each."""

    type: Literal["text_file"]
    file: FilePath
    from_: Severity = Field(default="info", alias="from")

    def send(self, message: Message) -> str:
        with Path(self.file).open("a") as file:
            file.write(f"{message.severity} {message.title}\\n")
        return "handle"
'''

MAIN = """\
sources:
  asked: {{type: number_file, file: number}}
  told: {{type: datagram, port: {udp}}}
channels:
  file: {{type: text_file, file: state/messages}}
state: state
web: {{listen: "127.0.0.1:{web}"}}
"""

RULES = """\
targets: {{bot: {{repo: {repo}}}}}
kpis:
  number: {{expr: number, unit: count}}
  stopped: {{expr: stopped, unit: count}}
rules:
  - {{name: too-low, kpi: number, target: bot, crit: {{below: 10, plan: stop}}}}
plans:
  stop:
    kind: halt
    levels: [{{name: file, steps: [{{do: stop_file, file: {stop}}}], verify: {{that: [stopped == 1], give_up: 60s}}}}]
"""


def add(package: Path, union: str, module: str, text: str, name: str) -> None:
    """One file, and one word in the union."""
    folder = package / Path(union).parent
    (folder / f"{module}.py").write_text(text)
    registry = package / union
    source = registry.read_text()
    imported = f"from watchdog.{Path(union).parent}.{module} import {name}\n"
    source = source.replace("from pydantic import Field\n", f"from pydantic import Field\n\n{imported}", 1)
    source, changed = re.subn(r"(Any\w+ = Annotated\[\s*)", rf"\1{name} | ", source, count=1)
    assert changed == 1
    registry.write_text(source)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    copy = tmp_path / "package" / "watchdog"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    add(copy, "sources/__init__.py", "number_file", ASKED, "NumberFileSource")
    add(copy, "sources/__init__.py", "datagram", TOLD, "DatagramSource")
    add(copy, "actions/__init__.py", "stop_file", ACTION, "StopFileAction")
    add(copy, "notifiers/__init__.py", "text_file", CHANNEL, "TextFileNotifier")
    return copy.parent


@pytest.mark.slow
def test_a_new_source_action_and_channel_are_one_file_and_one_word_each(package: Path, tmp_path: Path) -> None:
    config, udp = tmp_path / "config", free_port(socket.SOCK_DGRAM)
    (config / "rules").mkdir(parents=True)
    stop, messages = config / "stop", config / "state" / "messages"
    (config / "number").write_text("100")
    (config / "watchdog.yaml").write_text(MAIN.format(udp=udp, web=free_port()))
    (config / "rules" / "rules.yaml").write_text(RULES.format(stop=stop, repo=config))
    command = [sys.executable, "-m", "watchdog"]
    environ = {**os.environ, "PYTHONPATH": str(package)}

    checked = subprocess.run(
        [*command, "check", str(config)], cwd=package, env=environ, capture_output=True, text=True, timeout=180
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([*command, "run", "--config", str(config)], cwd=package, env=environ, stderr=log) as daemon,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bot,
    ):
        try:
            wait_until(lambda: b"watching" in (tmp_path / "log").read_bytes(), "it watches")
            (config / "number").write_text("5")
            wait_until(stop.exists, "the action has acted")

            def proven() -> bool:
                bot.sendto(b"stopped 1", ("127.0.0.1", udp))
                text = messages.read_text() if messages.exists() else ""
                return "stop proven" in text or "of stop was proven" in text

            wait_until(proven, "what is pushed proves the plan, and the channel tells it")
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(30) == 0
        finally:
            daemon.kill()

    assert stop.read_text() == "run 1 level 0.0"
    assert "crit bot: too-low" in messages.read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()
