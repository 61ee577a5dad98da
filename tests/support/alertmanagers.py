"""Alertmanager for the tests: the real one where it is installed, and one that answers as it does at its HTTP border."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_chats import FakeServer, Request, Response
from tests.support.ports import free_port

Json = dict[str, Any]
BINARY = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
needs_alertmanager = pytest.mark.skipif(BINARY is None, reason="alertmanager is not installed")

_SHARE = Path("/usr/share")
_TEMPLATES = "prometheus/alertmanager/default.tmpl"
"""Debian's does not start without."""

_CONFIG = """\
global: {{resolve_timeout: {resolve_timeout}}}
route: {{receiver: nobody, group_by: [alertname]}}
receivers: [{{name: nobody}}]
"""


class FakeAlertmanager(FakeServer):
    """Takes what the API's schema allows; what was posted is in `posted`. An alert is known by its labels."""

    token = "AAhush-hush_hush-hushhushhush"

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[list[Json]] = []

    def alert(self, **labels: str) -> Json:
        """What was told last of the alert that has these labels."""
        found = [one for post in self.posted for one in post if labels.items() <= one["labels"].items()]
        assert found, (labels, self.posted)
        return found[-1]

    def respond(self, request: Request) -> Response:
        if request.path != "/api/v2/alerts":
            return Response(404, "404 page not found\n")
        if request.headers.get("Content-Type") != "application/json":
            return Response(415, {"code": 415, "message": "unsupported media type"})
        alerts = json.loads(request.body)
        for alert in alerts:
            if (why := _mistake_of(alert)) is not None:
                return Response(400, json.dumps(why), {"Content-Type": "application/json"})
        self.posted.append(alerts)
        return Response(200, "")


def _mistake_of(alert: Json) -> str | None:
    """As `types.Alert.Validate` of Alertmanager 0.25 says it."""
    if unknown := alert.keys() - {"labels", "annotations", "startsAt", "endsAt", "generatorURL"}:
        return f"unknown {unknown}"
    if not alert["labels"]:
        return "at least one label pair required"
    for kind in ("labels", "annotations"):
        for name, text in alert[kind].items():
            if not re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name) or not isinstance(text, str):
                return f"invalid {kind}: invalid name {name!r}"
    times = [datetime.fromisoformat(alert[key]) for key in ("startsAt", "endsAt") if key in alert]
    return "start time must be before end time" if times != sorted(times) else None


class RealAlertmanager:
    """One that runs."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def alerts(self) -> list[Json]:
        """What fires: what is resolved is not among it."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=60) as page:
            found: list[Json] = json.load(page)
        return found


@contextmanager
def run_alertmanager(
    folder: Path, *, resolve_timeout: str = "5m", port: int | None = None
) -> Iterator[RealAlertmanager]:
    assert BINARY is not None
    port = port or free_port()
    folder.mkdir(exist_ok=True)
    config = folder / "alertmanager.yml"
    config.write_text(_CONFIG.format(resolve_timeout=resolve_timeout))
    command = [
        *(BINARY, f"--config.file={config}", f"--storage.path={folder}", "--cluster.listen-address="),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    share = Path(BINARY).resolve().parents[1] / "share"
    if not (_SHARE / _TEMPLATES).exists() and (share / _TEMPLATES).exists():  # unpacked, and not installed
        namespace = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        command = [*namespace, "sh", "-c", f'mount --bind "$0" {_SHARE} && exec "$@"', str(share), *command]
    with (folder / "log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        server = RealAlertmanager(port)
        deadline = time.monotonic() + 90
        try:
            while True:
                try:
                    server.alerts()
                    break
                except OSError:
                    assert process.poll() is None, (folder / "log").read_text()
                    assert time.monotonic() < deadline, "alertmanager does not answer"
                    time.sleep(0.05)
            yield server
        finally:
            process.kill()
