"""Wherever a channel's secret comes from, and whatever its server repeats of it: nothing that we write or say holds it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from tests.notifiers.test_contract import CASES, Case
from tests.support.fake_chats import Request, Response
from tests.support.pipeline_harness import RULES_YAML, SECOND, PipelineHarness
from watchdog import config
from watchdog.app.alert_refresher import AlertRefresher
from watchdog.app.status import build_status
from watchdog.cli.command_line import main
from watchdog.core.model import Message
from watchdog.core.offload import ThreadOffload
from watchdog.notifiers.outbox import OutboxSender

FILE_KEYS = {"token": "token_file", "url": "url_file"}
ENVIRONMENT_ONLY, FILE_ONLY = {"slack webhook"}, {"alertmanager", "alertmanager basic"}
WAYS = [
    (name, way)
    for name in CASES
    for way in ("environment", "file", "credential")
    if not (way == "environment" and name in FILE_ONLY) and not (way != "environment" and name in ENVIRONMENT_ONLY)
]
STATUSES = (200, 302, 400, 401, 404, 429, 500)


def secret_field(case: Case) -> str:
    """Which of the entry's fields is its secret."""
    return next(key for key, text in case.fields.items() if isinstance(text, str) and "hush" in text and key != "api")


def place_secret(case: Case, way: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The entry, with its secret where that way has it."""
    if case.file_key is not None:
        given = Path(case.fields.get("token_file") or case.fields["basic"]["password_file"])
        secret, plain = given.read_text(), {"url": case.fields["url"]}
        given.unlink()
    else:
        field = secret_field(case)
        secret, plain = case.fields[field], {key: text for key, text in case.fields.items() if key != field}
        if way == "environment":
            monkeypatch.setenv("CHANNEL_SECRET", secret)
            return plain | {field: "${CHANNEL_SECRET}"}
    credentials = folder / "credentials"
    credentials.mkdir()
    file = (credentials if way == "credential" else folder) / "channel.secret"
    file.write_text(secret)
    file.chmod(0o600)
    if way == "credential":
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    name = file.name if way == "credential" else str(file)
    if case.file_key == "password_file":
        return plain | {"basic": {"user": "ann", "password_file": name}}
    return plain | {case.file_key or FILE_KEYS[secret_field(case)]: name}


class Harness(PipelineHarness):
    def write_config(self, rules: str, main: str = "") -> None:
        (self.folder / "rules").mkdir(parents=True, exist_ok=True)
        (self.folder / "watchdog.yaml").write_text(main)
        (self.folder / "rules" / "rules.yaml").write_text(rules)
        self.config = config.load(self.folder, environ=os.environ)

    def open(self) -> None:
        (self.folder / "state").mkdir(exist_ok=True)
        self.folder = self.folder / "state"  # where the commands look for the journal
        super().open()
        self.folder = self.folder.parent


@pytest.fixture(
    params=[
        pytest.param(
            one, id=" by ".join(one), marks=[] if one[1] == "file" or one[0] in ENVIRONMENT_ONLY else pytest.mark.slow
        )
        for one in WAYS
    ]
)
def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Case, Harness]]:
    name, way = request.param
    case = CASES[name](tmp_path)
    entry = {"type": case.kind, "from": "info", **place_secret(case, way, tmp_path, monkeypatch)}
    sources = (
        'bot: {type: scrape, url: "http://127.0.0.1:1/metrics", every: 1s}\n  host: {type: host, every: 1s, disks: [/]}'
    )
    folder = tmp_path / "config"
    folder.mkdir()
    made = Harness(folder, RULES_YAML, f"sources:\n  {sources}\nchannels:\n  told: {json.dumps(entry)}\nstate: state\n")
    yield case, made
    made.journal.close()
    case.server.close()


def echo(case: Case, status: int) -> None:
    """From now on the server answers so, with all that it was sent."""

    def respond(request: Request) -> Response:
        said = f"{request.path} {dict(request.headers)} {request.body.decode()} hushhushhush AAhush-hush_hush"
        headers = {"Location": f"http://127.0.0.1:1/{request.path}", "X-Echo": request.path}
        return Response(status, {"ok": status == 200, "error": said, "description": said, "message": said}, headers)

    case.server.respond = respond  # type: ignore[method-assign]


@pytest.mark.slow
def test_nothing_that_is_written_or_said_holds_the_secret(
    world: tuple[Case, Harness], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    case, harness = world
    caplog.set_level(logging.DEBUG)
    told: list[Message] = []
    pipeline, offload = harness.pipeline, ThreadOffload(None, "sending")

    async def deliver() -> None:
        outbox = OutboxSender(
            pipeline.journal, pipeline.telemetry, lambda: harness.now, offload, harness.config.channels, pace=0
        )
        refresher = AlertRefresher(pipeline, outbox, lambda: harness.now, offload, told.append)
        await outbox.drain()
        await refresher.refresh()
        await refresher.wait()
        await outbox.send_unjournaled(Message("crit", "the journal takes nothing"))

    harness.rounds(3)
    harness.rounds(5, error_ratio=0.5)
    for status in STATUSES:
        echo(case, status)
        harness.now += 70 * SECOND
        with harness.journal.transaction() as tx:
            pipeline.incident_manager.notify(tx, Message("crit", f"news {status}", incident=1), harness.now)
        asyncio.run(deliver())
    assert len(case.server.requests) >= len(STATUSES)
    offload.close()
    said = [generate_latest(pipeline.telemetry.registry).decode(), repr(told)]
    said.append(repr(build_status(harness.config, pipeline, harness.journal, {}, harness.now)))
    said += [repr(harness.config.channels), str(harness.config.channels["told"])]
    rows = harness.journal.query("SELECT error, title, lines FROM message")
    assert any(row["error"] for row in rows)

    folder = str(harness.folder)
    assert main(["notify", "told", "--config", folder]) == 1
    for command in (
        ["check"],
        ["incidents"],
        ["incidents", "1"],
        ["incidents", "1", "--json"],
        ["report", "1"],
        ["status"],
    ):
        main([*command, "--config", folder])
    captured = capfd.readouterr()
    said += [captured.out, captured.err, caplog.text]
    said += [
        file.read_bytes().decode(errors="replace") for file in (harness.folder / "state").rglob("*") if file.is_file()
    ]
    assert "not delivered" in captured.err
    assert [text[max(0, text.find("hush") - 300) :][:400] for text in said if "hush" in text] == []
