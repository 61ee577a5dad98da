"""What a command says when the daemon's address answers something that cannot be used: never that nobody is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.raw_http_server import Behaviour, RawHttpServer, respond_with
from watchdog.cli import daemon_api
from watchdog.cli.command_line import main
from watchdog.cli.daemon_api import DaemonFaultError, NobodyAnswersError, ask_for_json, fetch_status, find_status
from watchdog.config import Config, load
from watchdog.core.errors import WatchdogError

STATUS = '{"version": "1", "now": 0, "sources": {}, "kpis": {}, "rules": [], "targets": {}, "silenced": []}'


def configuration(folder: Path, listen: str) -> Config:
    (folder / "watchdog.yaml").write_text(
        f'sources: {{bot: {{type: scrape, url: "http://127.0.0.1:1/"}}}}\nweb: {{listen: "{listen}"}}\nstate: state\n'
    )
    return load(folder, environ={})


def break_off(server: RawHttpServer, connection: object) -> None:
    """Closes without a word."""


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        (
            respond_with("Internal Server Error\n", "500 Internal Server Error"),
            DaemonFaultError,
            "runs, and answers 500",
        ),
        (respond_with("too many", "503 Service Unavailable"), DaemonFaultError, "is busy: it answers 503"),
        (respond_with("<html>", "200 OK"), WatchdogError, "is no watchdog: it answers 200 OK"),
        (respond_with("", "404 Not Found"), WatchdogError, "is no watchdog: it answers 404 Not Found"),
        (respond_with('{"x": 1}', "200 OK"), WatchdogError, "is no watchdog — say web:"),
        (respond_with("[]", "200 OK"), WatchdogError, "is no watchdog"),
        (respond_with(STATUS, length=9_999), DaemonFaultError, "gave no"),
        (break_off, DaemonFaultError, "gave no answer that can be read"),
    ],
)
def test_an_answer_that_cannot_be_used_is_never_told_as_nobodys(
    tmp_path: Path, behaviour: Behaviour, kind: type[WatchdogError], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = RawHttpServer(behaviour)
    try:
        config = configuration(tmp_path, f"127.0.0.1:{server.port}")
        with pytest.raises(kind) as told:
            find_status(config, tmp_path)
        code = main(["status", "--config", str(tmp_path)])
    finally:
        server.close()

    assert words in str(told.value)
    assert not isinstance(told.value, NobodyAnswersError)
    said = capsys.readouterr().err
    assert code == 1
    assert "no watchdog answers" not in said
    assert words in said


def test_one_that_hangs_is_said_to_hang(tmp_path: Path) -> None:
    server = RawHttpServer(lambda server, _: server.stopping.wait(90))
    try:
        config = configuration(tmp_path, f"127.0.0.1:{server.port}")
        with pytest.raises(DaemonFaultError, match="gave no whole answer within 100 ms"):
            ask_for_json(config, "/api/status", 100)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("listen", "words"),
    [
        (lambda: f"127.0.0.1:{free_port()}", "is the service running?"),
        (lambda: f"[::1]:{free_port()}", "no watchdog answers at [::1]:"),
        (lambda: "127.0.0.1:0", "web.listen says port 0"),
    ],
)
def test_where_nothing_listens_nobody_answers(tmp_path: Path, listen: Callable[[], str], words: str) -> None:
    config = configuration(tmp_path, listen())

    assert find_status(config, tmp_path) is None
    with pytest.raises(NobodyAnswersError) as told:
        fetch_status(config, tmp_path)
    assert words in str(told.value)


def test_a_query_is_answered_where_the_status_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = '{"expr": "x", "times": [1], "series": [{"labels": {"__name__": "x"}, "values": ["+Inf"]}]}'

    def answers(server: RawHttpServer, connection: object) -> object:
        broken = "/api/status" in server.requests[-1]
        behave = respond_with("oops", "500 Internal Server Error") if broken else respond_with(answer)
        return behave(server, connection)  # type: ignore[arg-type]

    server = RawHttpServer(answers)
    try:
        configuration(tmp_path, f"127.0.0.1:{server.port}")
        assert main(["query", "x", "--config", str(tmp_path)]) == 0
    finally:
        server.close()
    assert capsys.readouterr().out == "x  +Inf\n"


def test_a_query_that_breaks_in_the_daemon_is_not_answered_by_files_instead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = RawHttpServer(respond_with("oops", "500 Internal Server Error"))
    try:
        configuration(tmp_path, f"127.0.0.1:{server.port}")
        assert main(["query", "x", "--config", str(tmp_path)]) == 1
    finally:
        server.close()
    assert "runs, and answers 500" in capsys.readouterr().err


def test_a_name_is_asked_at_its_own_and_anybody_at_loopback(tmp_path: Path) -> None:
    assert daemon_api.daemon_address(configuration(tmp_path, "[::]:80")) == "127.0.0.1:80"
    assert daemon_api.daemon_address(configuration(tmp_path, "[::1]:80")) == "[::1]:80"
