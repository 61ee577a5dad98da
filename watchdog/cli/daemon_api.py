"""What the commands ask of the running daemon, over its web address. An answer that cannot be used is never taken for nobody's."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

from watchdog.config import Config, is_same_configuration
from watchdog.core.errors import WatchdogError
from watchdog.core.model import Millis
from watchdog.core.units import format_duration
from watchdog.net import http as client
from watchdog.net.address import host_and_port
from watchdog.net.deadline import Deadline
from watchdog.net.errors import HttpError
from watchdog.net.response import HttpResponse

_MAX_BYTES = 512 * 1024 * 1024
_OTHER_ADDRESS = "say web: with an address of its own"


class NobodyAnswersError(WatchdogError):
    """Nothing listens where the daemon should be: it does not run, or elsewhere."""


class DaemonFaultError(WatchdogError):
    """Something listens there, and what it answers cannot be used: it is busy, hangs, or has a fault."""


def daemon_address(loaded: Config) -> str:
    """Host and port at which the daemon of this configuration is asked."""
    host = "127.0.0.1" if loaded.web.host in ("0.0.0.0", "::", "") else loaded.web.host  # noqa: S104 – where to ask
    return host_and_port(host, loaded.web.port)


def ask_daemon(loaded: Config, target: str, timeout: Millis) -> HttpResponse:
    """Its answer to a GET of `target` (path and query), of any status. Raises NobodyAnswersError and DaemonFaultError."""
    where = daemon_address(loaded)
    if loaded.web.port == 0:
        raise NobodyAnswersError("web.listen says port 0, so nobody knows where the watchdog answers — say a port")
    try:
        return client.request("GET", f"http://{where}{target}", deadline=Deadline.after(timeout), max_bytes=_MAX_BYTES)
    except HttpError as error:
        if error.kind == "refused":
            raise NobodyAnswersError(f"no watchdog answers at {where} — is the service running?") from None
        if error.kind == "deadline":
            within = f"gave no whole answer within {format_duration(timeout)}"
            what = f"what listens at {where} {within} — if it is the watchdog, it is busy or hangs: see its log"
        elif error.may_have_happened:
            what = f"what listens at {where} gave no answer that can be read ({error.what}) — if it is the watchdog, see its log"
        else:
            what = f"the watchdog cannot be asked at {where}: {error.what} — check web: in watchdog.yaml"
        raise DaemonFaultError(what) from None


def ask_for_json(loaded: Config, target: str, timeout: Millis) -> tuple[int, dict[str, Any]]:
    """(status, JSON object) of its answer. Raises as `ask_daemon`, and WatchdogError where it is no watchdog that answers."""
    answer, where = ask_daemon(loaded, target, timeout), daemon_address(loaded)
    known = answer.json()
    if isinstance(known, dict):
        return answer.status, known
    phrases = {each.value: each.phrase for each in HTTPStatus}
    said = f"{answer.status} {phrases.get(answer.status, '')}".strip()
    if answer.status == 503:
        raise DaemonFaultError(f"the watchdog at {where} is busy: it answers {said} — ask again in a moment")
    if answer.status >= 500:
        raise DaemonFaultError(f"the watchdog at {where} runs, and answers {said} — see its log")
    raise WatchdogError(f"what answers at {where} is no watchdog: it answers {said} — {_OTHER_ADDRESS}")


def fetch_status(loaded: Config, path: Path) -> dict[str, Any]:
    """What the running watchdog of the configuration at `path` says of itself. Raises as `ask_for_json`, and WatchdogError when
    it is the watchdog of another configuration that answers."""
    status, known = ask_for_json(loaded, "/api/status", 5_000)
    where = daemon_address(loaded)
    if status != 200 or "sources" not in known:
        raise WatchdogError(f"what answers at {where} is no watchdog — {_OTHER_ADDRESS}")
    theirs = known.get("configuration")
    if theirs is not None and not is_same_configuration(theirs, path):
        raise WatchdogError(f"at {where} answers the watchdog of {theirs} — {_OTHER_ADDRESS}")
    return known


def find_status(loaded: Config, path: Path) -> dict[str, Any] | None:
    """The same; None: nobody answers."""
    try:
        return fetch_status(loaded, path)
    except NobodyAnswersError:
        return None
