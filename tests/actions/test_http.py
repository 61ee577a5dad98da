from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.actions import json_round_trip, make_action
from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.core.target import Target


class FakeApi:
    """A bot's API on loopback: POST /stop stops it, GET /state says whether; other answers by hand."""

    def __init__(self) -> None:
        self.running = True
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.hanging_paths: set[str] = set()
        self.closed = threading.Event()
        self.on_stop: Callable[[], object] = lambda: None
        api = self

        class Handler(BaseHTTPRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):  # whoever asked does not wait any more
                    super().handle()

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length)) if length else None
                api.requests.append((self.command, self.path, dict(self.headers), body))
                if self.path == "/stop":
                    api.running = False
                    api.on_stop()
                if self.path in api.hanging_paths:
                    while not api.closed.wait(0.05):
                        self.wfile.write(b"x")
                    return
                status = {"status": "running" if api.running else "stopped", "bots": [{"open": 0}], "ok": True}
                code, said = api.answers.get(self.path, (200, json.dumps(status).encode()))
                self.send_response(code)
                self.end_headers()
                self.wfile.write(said)

            do_POST = do_GET  # noqa: N815 - the server's own word

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.closed.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def api() -> Iterator[FakeApi]:
    served = FakeApi()
    yield served
    served.close()


def make_stop_step(api: FakeApi, **more: Any) -> Action:
    check = {"url": f"{api.url}/state", "expect": {"answer": {"status": "stopped"}}}
    fields = {"url": f"{api.url}/stop", "check": check, "timeout": 5_000, **more}
    return make_action(do="http", **fields).bind(Target())


def test_a_second_request_tells_before_from_after(api: FakeApi) -> None:
    step = make_stop_step(api, body={"reason": "drawdown"})
    before = json_round_trip(step.capture())
    assert before == {"check": False}
    assert step.state(before) == "before"
    assert step.apply(before, "k").startswith(f"POST {api.url}/stop: 200 ")
    assert step.state(before) == "after"
    posted = [(method, path, body) for method, path, _, body in api.requests if method == "POST"]
    assert posted == [("POST", "/stop", {"reason": "drawdown"})]


def test_without_a_check_nobody_can_tell(api: FakeApi) -> None:
    step = make_stop_step(api, check=None)
    assert step.state(step.capture()) == "unknown"
    step.apply(step.capture(), "k")
    assert step.state(step.capture()) == "unknown"


def test_a_check_that_cannot_be_asked_cannot_tell(api: FakeApi) -> None:
    step = make_stop_step(api)
    api.answers["/state"] = (503, b"")
    assert step.state({}) == "unknown"
    api.answers["/state"] = (401, b"")
    assert step.state({}) == "unknown"
    api.answers["/state"] = (404, b"")
    assert step.state({}) == "before"


def test_an_answer_that_comes_true_later_is_waited_for(api: FakeApi) -> None:
    step = make_stop_step(api)
    api.answers["/state"] = (200, b'{"status": "stopping"}')
    came = threading.Timer(0.2, lambda: api.answers.pop("/state"))
    came.start()
    step.apply({}, "k")
    came.join()

    assert step.state({}) == "after"


def test_well_answered_and_yet_not_so_may_have_happened(api: FakeApi) -> None:
    api.answers["/state"] = (200, b'{"status": "running"}')
    with pytest.raises(ActionError, match=r"was answered 200, yet by .*status is .running.") as caught:
        make_stop_step(api, timeout=3_000).apply({}, "k")

    assert caught.value.may_have_happened


@pytest.mark.parametrize(
    ("status", "may"), [(400, False), (401, False), (302, False), (409, True), (500, True), (503, True)]
)
def test_a_refusal_did_not_happen_and_a_breakdown_may_have(api: FakeApi, status: int, may: bool) -> None:
    api.answers["/stop"] = (status, b"no way\n")
    with pytest.raises(ActionError, match=f"it answered {status}: no way") as caught:
        make_stop_step(api).apply({}, "k")

    assert caught.value.may_have_happened is may


def test_nobody_there_is_known_not_to_have_happened(api: FakeApi) -> None:
    step = make_stop_step(api, url="http://127.0.0.1:1/stop")
    with pytest.raises(ActionError, match="nobody listens there — is the server running") as caught:
        step.apply({}, "k")

    assert not caught.value.may_have_happened


@pytest.mark.parametrize("check", [None, {"url": "http://127.0.0.1:1/"}])
@pytest.mark.slow
def test_a_server_that_drips_is_left_at_the_deadline_and_was_asked_once(
    api: FakeApi, check: dict[str, str] | None
) -> None:
    api.hanging_paths.add("/stop")
    began = time.monotonic()
    with pytest.raises(
        ActionError, match="no whole answer within 3 s — look whether it did what it was asked"
    ) as caught:
        make_stop_step(api, check=check, timeout=3_000).apply({}, "k")

    assert time.monotonic() - began < 60
    assert caught.value.may_have_happened
    assert len(api.requests) == 1


def test_a_long_answer_is_not_read_to_its_end(api: FakeApi) -> None:
    api.answers["/stop"] = (200, b"x" * (2 << 20))
    with pytest.raises(ActionError, match="more than 1048576 bytes — look whether it did") as caught:
        make_stop_step(api).apply({}, "k")

    assert caught.value.may_have_happened


@pytest.mark.parametrize(
    ("expect", "why"),
    [
        ({"status": [204]}, "it answered 200"),
        ({"answer": {"bots.0.open": 1}}, "bots.0.open is 0"),
        ({"answer": {"bots.1.open": 0}}, "is not there"),
        ({"answer": {"ok": 1}}, "ok is true"),
        ({"answer": {"bots.0.open": False}}, "bots.0.open is 0"),
    ],
)
def test_an_answer_must_be_as_expected(api: FakeApi, expect: dict[str, Any], why: str) -> None:
    with pytest.raises(ActionError, match=why):
        make_stop_step(api, expect=expect).apply({}, "k")


def test_a_redirect_is_not_followed(api: FakeApi) -> None:
    api.answers["/stop"] = (307, b"")
    with pytest.raises(ActionError, match="it answered 307"):
        make_stop_step(api).apply({}, "k")

    assert [path for _, path, _, _ in api.requests] == ["/stop"]


def test_secrets_come_from_files_when_they_are_needed_and_are_never_told(api: FakeApi, tmp_path: Path) -> None:
    token, headers = tmp_path / "token", tmp_path / "headers"
    token.write_text("s3cret-token\n")
    headers.write_text("# of the exchange\nX-Api-Key: k3y-of-mine\n\n")
    step = make_stop_step(api, token_file=str(token), headers_file=str(headers), headers={"X-Why": "drawdown"})
    api.answers["/stop"] = (200, b"token s3cret-token, key k3y-of-mine")
    before = step.capture()
    said = step.apply(before, "k")
    texts = [said, step.describe(), step.preview(before), json.dumps(before), repr(step)]

    sent = next(sent for _, path, sent, _ in api.requests if path == "/stop")
    assert sent["Authorization"] == "Bearer s3cret-token"
    assert (sent["X-Api-Key"], sent["X-Why"]) == ("k3y-of-mine", "drawdown")
    assert not [text for text in texts if "s3cret" in text or "k3y" in text]
    assert said.endswith("200 token …, key …")


def test_a_secret_that_goes_away_meanwhile_does_not_make_a_request_undone(api: FakeApi, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret-token")
    step = make_stop_step(api, check=None, token_file=str(token))
    api.on_stop = token.unlink

    assert step.apply({}, "k").startswith("POST ")
    assert not token.exists()


def test_a_name_makes_the_token_a_password(api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("pass")
    make_stop_step(api, user="bot", token_file=str(tmp_path / "password")).apply({}, "k")

    assert api.requests[0][2]["Authorization"] == "Basic Ym90OnBhc3M="


@pytest.mark.parametrize("key", ["token_file", "headers_file"])
def test_a_relative_secret_of_an_older_journal_is_never_looked_for_in_the_bots_repo(
    api: FakeApi, tmp_path: Path, key: str
) -> None:
    (tmp_path / "api.token").write_text("t")
    step = make_action(do="http", url=api.url, **{key: "api.token"})

    with pytest.raises(ActionError, match=f"{key} api.token is relative, to nothing — write the full path"):
        step.bind(Target(repo=str(tmp_path)))


@pytest.mark.parametrize("key", ["token_file", "headers_file"])
def test_a_secret_that_others_could_exchange_is_not_sent_away(api: FakeApi, tmp_path: Path, key: str) -> None:
    """A bot that may put a link into that folder would choose which of our files goes to its web page."""
    (tmp_path / "shadow").write_text("root-secret")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    (tmp_path / "shared" / "api.token").symlink_to(tmp_path / "shadow")

    with pytest.raises(ActionError, match=f"everybody may write the folder {tmp_path}/shared — .*chmod go-w") as caught:
        make_stop_step(api, **{key: str(tmp_path / "shared" / "api.token")}).apply({}, "k")
    assert "root-secret" not in str(caught.value)
    assert api.requests == []


@pytest.mark.parametrize(
    ("key", "content", "why"),
    [
        ("token_file", None, "cannot be read: No such file"),
        ("token_file", b"\xff", "it is no text"),
        ("headers_file", b"\xff", "it is no text"),
        ("token_file", b"two words", "holds no token"),
        ("headers_file", b"\nnonsense\n", "line 2 of .* is no Name: value"),
        ("headers_file", "X: ä\n".encode(), "line 1 of"),
    ],
)
def test_a_bad_secret_is_said_before_anything_is_done(
    api: FakeApi, tmp_path: Path, key: str, content: bytes | None, why: str
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ActionError, match=why):
        make_stop_step(api, **{key: str(tmp_path / "secret")}).capture()

    assert not api.requests


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"url": "ftp://x/"}, "an address reads like http://127.0.0.1:8080/api/v1/stop"),
        ({"url": "http://me:pw@x/"}, "shown in logs and in the journal — put the password in token_file"),
        ({"url": "http://x:99999/"}, "its port from 1 to 65535"),
        ({"headers": {"Authorization": "Bearer x"}}, "stands in the journal"),
        ({"headers": {"X Y": "z"}}, "no name of a header"),
        ({"headers": {"X": "a\nb"}}, "cannot be sent"),
        ({"user": "me"}, "needs a token_file"),
        ({"body": {"x": float("nan")}}, "no JSON"),
        ({"method": "TRACE"}, "Input should be"),
        ({"leaves": "trading is stopped"}, "leaves needs a check"),
    ],
)
def test_what_can_never_work_is_refused_at_load(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        make_action(do="http", **{"url": "http://127.0.0.1/", **fields})
