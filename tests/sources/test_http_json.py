from __future__ import annotations

import base64
import json
import socket
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.raw_http_server import (
    LOOPBACK_CERTIFICATE,
    RawHttpServer,
    StartServer,
    never_respond,
    respond_slowly,
    respond_with,
)
from watchdog.config.load import check_files
from watchdog.core.errors import SourceError
from watchdog.core.model import Sample
from watchdog.core.protocols import ExplainedSource, SourceCache
from watchdog.sources import HttpJsonSource

NOW = 1_700_000_000_000
JSON = {"Content-Type": "application/json"}
EQUITY = respond_with('{"equity": 5}', headers=JSON)


def make_source(url: str, **fields: Any) -> HttpJsonSource:
    fields = {"type": "http_json", "url": url, "timeout": "20s", "values": {"equity": "equity"}} | fields
    return HttpJsonSource.model_validate(fields)


def read(source: HttpJsonSource, cache: SourceCache | None = None, now: int = NOW) -> list[Sample]:
    return source.read({}, {} if cache is None else cache, now)


def error_of(source: HttpJsonSource, cache: SourceCache | None = None, now: int = NOW) -> str:
    with pytest.raises(SourceError, match=r".+ — .+") as caught:
        read(source, cache, now)
    assert caught.value.__cause__ is None
    return str(caught.value)


def secret_file(folder: Path, text: str) -> str:
    file = folder / f"secret-{len(list(folder.iterdir()))}"
    file.write_text(f"{text}\n")
    file.chmod(0o600)
    return str(file)


def header(request: str, name: str) -> str | None:
    lines = dict(line.split(": ", 1) for line in request.splitlines()[1:] if line)
    return lines.get(name)


def test_values_are_read_out_of_an_answer_on_a_connection_that_is_kept(start_server: StartServer) -> None:
    server, cache = start_server(EQUITY), SourceCache()
    source = make_source(server.url)

    assert read(source, cache) == [Sample("equity", (), NOW, 5.0)]
    assert read(source, cache, NOW + 1_000) == [Sample("equity", (), NOW + 1_000, 5.0)]
    assert server.connections == 1
    assert header(server.requests[0], "Accept") == "application/json"
    assert server.requests[0].startswith("GET ")


@pytest.mark.parametrize(
    ("body", "headers", "sent", "kind"),
    [
        ({"query": "{ equity }", "n": 1}, {}, '{"query": "{ equity }", "n": 1}', "application/json"),
        (["a"], {}, '["a"]', "application/json"),
        ("a=b", {"content-type": "text/plain"}, "a=b", None),
        (None, {}, "", "application/json"),
    ],
)
def test_a_body_goes_with_a_post(
    body: object, headers: dict[str, str], sent: str, kind: str | None, start_server: StartServer
) -> None:
    server = start_server(EQUITY)
    read(make_source(server.url, method="POST", body=body, headers=headers))

    assert server.bodies == [sent]
    assert server.requests[0].startswith("POST ")
    assert header(server.requests[0], "Content-Type") == kind
    assert server.requests[0].lower().count("content-type:") == 1


def test_who_we_are_is_sent_by_header_token_or_name_and_password(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(EQUITY)
    read(make_source(server.url, headers={"X-Key": "k", "accept": "text/json"}))
    read(make_source(server.url, token_file=secret_file(tmp_path, "t0ken")))
    read(make_source(server.url, basic={"user": "ada", "password_file": secret_file(tmp_path, "pässword")}))

    assert header(server.requests[0], "X-Key") == "k"
    assert header(server.requests[0], "Accept") is None
    assert header(server.requests[1], "Authorization") == "Bearer t0ken"
    said = header(server.requests[2], "Authorization") or ""
    assert base64.b64decode(said.removeprefix("Basic ")).decode() == "ada:pässword"


# ─ a login ─


class Api:
    """Hands out tokens that are good until it is told otherwise, as freqtrade does at /api/v1/token/login."""

    def __init__(self) -> None:
        self.logins = 0
        self.valid = True
        """Whether a token that was handed out is taken."""
        self.good: str | None = None
        self.answer: Callable[[RawHttpServer, socket.socket], object] | None = None
        """To a login, in place of a token."""
        self.profit: Callable[[RawHttpServer, socket.socket], object] = EQUITY

    def __call__(self, server: RawHttpServer, connection: socket.socket) -> object:
        request = server.requests[-1]
        if request.startswith("POST /api/v1/token/login"):
            self.logins += 1
            self.good = f"token-{self.logins}"
            if self.answer is not None:
                return self.answer(server, connection)
            return respond_with(json.dumps({"access_token": self.good}), headers=JSON)(server, connection)
        if not self.valid or f"Bearer {self.good}" not in request:
            return respond_with('{"detail": "hush"}', "401 Unauthorized", JSON)(server, connection)
        return self.profit(server, connection)


def login_source(server: RawHttpServer, folder: Path, **login: Any) -> HttpJsonSource:
    base = server.url.removesuffix("/metrics")
    basic = {"user": "ada", "password_file": secret_file(folder, "hush")}
    login = {"url": f"{base}/api/v1/token/login", "basic": basic} | login
    return make_source(f"{base}/api/v1/profit", login=login)


def test_a_token_is_had_once_and_kept(start_server: StartServer, tmp_path: Path) -> None:
    api, cache = Api(), SourceCache()
    server = start_server(api)
    source = login_source(server, tmp_path)
    for _ in range(3):
        assert read(source, cache) == [Sample("equity", (), NOW, 5.0)]

    assert api.logins == 1
    assert (header(server.requests[0], "Authorization") or "").startswith("Basic ")
    assert server.connections == 1


def test_a_token_that_is_taken_no_more_is_renewed_within_the_read(start_server: StartServer, tmp_path: Path) -> None:
    api, cache = Api(), SourceCache()
    source = login_source(start_server(api), tmp_path)
    read(source, cache)
    api.good = "another one"  # the bot was started anew

    assert read(source, cache)
    assert api.logins == 2


def test_a_server_that_repeats_the_token_it_gave_is_not_quoted(start_server: StartServer, tmp_path: Path) -> None:
    api, cache = Api(), SourceCache()
    source = login_source(start_server(api), tmp_path)
    assert read(source, cache)
    api.profit = respond_with(json.dumps({"equity": f"you sent {api.good}"}))

    assert '(equity: "you sent***", no number)' in error_of(source, cache)


def test_a_login_that_repeats_the_password_is_not_quoted(start_server: StartServer, tmp_path: Path) -> None:
    api = Api()
    api.answer = respond_with('{"by_name": "hush", "in_body": "s3cret"}')
    server = start_server(api)

    for token in ("sum(by_name)", "sum(in_body)"):
        said = error_of(login_source(server, tmp_path, token=token, body={"password": "s3cret"}), SourceCache())
        assert "does not fit the data" in said
        assert "***" in said
        assert "hush" not in said
        assert "s3cret" not in said


def test_a_new_token_that_is_not_taken_ends_the_read_and_the_login_rests(
    start_server: StartServer, tmp_path: Path
) -> None:
    api, cache = Api(), SourceCache()
    source = login_source(start_server(api), tmp_path)
    read(source, cache)
    api.valid = False

    said = error_of(source, cache)
    assert "answered 401 Unauthorized with a token that http://127.0.0.1:" in said
    assert "has just given — check login" in said
    assert api.logins == 2
    assert error_of(source, cache, NOW + 29_999) == said
    assert api.logins == 2, "an account is not locked by asking every second"
    api.valid = True
    assert read(source, cache, NOW + 30_000)
    assert read(source, cache, NOW + 31_000)
    assert api.logins == 3


@pytest.mark.parametrize(
    ("answer", "said", "rests"),
    [
        (respond_with("hush", "401 Unauthorized"), "answered 401 Unauthorized — check login", True),
        (respond_with("hush", "503 Service Unavailable"), "answered 503 Service Unavailable", False),
        (respond_with('{"token": "hush"}'), "answers no token at access_token — check login", True),
        (respond_with('{"access_token": "hush hush"}'), "answers no token at access_token", True),
        (respond_with(json.dumps({"access_token": "x" * 20_000})), "answers no token at access_token", True),
        (respond_with('{"access_token": "x\\r\\nX-Evil: 1"}'), "answers no token at access_token", True),
        (respond_with('{"access_token": 5}'), "answers no token at access_token", True),
        (respond_with("<html>"), "no JSON at line 1", True),
    ],
)
def test_a_login_that_fails_is_told_and_rests_where_asking_again_does_harm(
    answer: Any, said: str, rests: bool, start_server: StartServer, tmp_path: Path
) -> None:
    api, cache = Api(), SourceCache()
    api.answer = answer
    source = login_source(start_server(api), tmp_path)

    first = error_of(source, cache)
    second = error_of(source, cache, NOW + 1_000)

    assert said in first
    assert first == second
    assert "hush" not in first
    assert api.logins == (1 if rests else 2)


@pytest.mark.parametrize("form", [False, True])
def test_a_login_sends_names_and_passwords_as_json_or_as_a_form(
    form: bool, start_server: StartServer, tmp_path: Path
) -> None:
    def behave(server: RawHttpServer, connection: socket.socket) -> object:
        if server.requests[-1].startswith("POST"):
            return respond_with('{"data": {"jwt": "abc"}}', "201 Created", JSON)(server, connection)
        return EQUITY(server, connection)

    server = start_server(behave)
    login = {
        "url": server.url,
        "form": form,
        "body": {"username": "ada", "remember": True, "n": 1},
        "body_files": {"password": secret_file(tmp_path, "p&ss")},
        "headers": {"X-Login": "x"},
        "token": "data.jwt",
        "header": "X-Auth-Token",
    }
    read(make_source(server.url, login=login, headers={"X-Key": "k"}))

    sent = dict(urllib.parse.parse_qsl(server.bodies[0])) if form else json.loads(server.bodies[0])
    assert sent["username"] == "ada"
    assert sent["password"] == "p&ss"
    assert header(server.requests[0], "X-Login") == "x"
    assert header(server.requests[0], "X-Key") is None, "it may be another server"
    assert header(server.requests[1], "X-Auth-Token") == "abc"
    assert header(server.requests[1], "X-Key") == "k"


def test_login_and_read_have_one_deadline(start_server: StartServer, tmp_path: Path) -> None:
    api = Api()
    api.answer = respond_slowly(b"HTTP/1.1 200 OK\r\n\r\n", b" ")
    source = login_source(start_server(api), tmp_path).model_copy(update={"timeout": 100})

    assert "within 100 ms" in error_of(source)


# ─ certificates ─


@pytest.fixture
def secure_server() -> Iterator[RawHttpServer]:
    server = RawHttpServer(EQUITY, secure=True, client_ca=LOOPBACK_CERTIFICATE)
    yield server
    server.close()


def test_a_ca_and_a_certificate_of_ones_own(secure_server: RawHttpServer, tmp_path: Path) -> None:
    file = tmp_path / "all.pem"  # in git it may be writable for a group
    file.write_bytes(LOOPBACK_CERTIFICATE.read_bytes())
    file.chmod(0o600)

    assert read(make_source(secure_server.url, tls={"ca_file": str(file), "cert_file": str(file)}))
    assert "tls.ca_file" in error_of(make_source(secure_server.url, tls={"ca_file": str(tmp_path / "gone")}))
    assert "TLS failed" in error_of(make_source(secure_server.url))


# ─ answers that cannot be used ─


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (respond_with("{", headers=JSON), "/metrics: no JSON at line 1"),
        (respond_with("<p>hush", headers={"Content-Type": "text/html"}), "/metrics answers text/html: no JSON"),
        (respond_with('{"equity": null}', headers=JSON), "nothing of values is there: equity (equity: nothing there)"),
        (respond_with('{"equity": NaN}', headers=JSON), "nothing there"),
        (respond_with("{}", "500 Oops", JSON), "answered 500"),
        (respond_with("{}", "401 hush", JSON), "answered 401 Unauthorized — check"),
        (respond_with('{"equity": 5, "x": "' + "x" * 2_000 + '"}', headers=JSON), "sends more than 1000 bytes"),
        (respond_with('{"equity": 5}', headers=JSON, length=500), "broke off half-way"),
        (respond_with("", "302 Found", {"Location": "/hush"}), "a redirect"),
    ],
)
def test_an_answer_that_cannot_be_used_is_one_error_with_a_cure(
    answer: Any, said: str, start_server: StartServer
) -> None:
    source = make_source(start_server(answer).url + "?key=hush", headers={"X-Key": "hush"}, max_bytes=1_000)

    assert said in error_of(source)
    assert "hush" not in error_of(source).replace("/hush", "")


def test_a_server_that_hangs_is_left_at_the_deadline(start_server: StartServer) -> None:
    assert "no whole answer within 60 ms" in error_of(make_source(start_server(never_respond).url, timeout="60ms"))


def test_what_the_expressions_match_is_told(start_server: StartServer) -> None:
    source = make_source(start_server(EQUITY).url, values={"equity": "equity", "x": "equty"})
    assert isinstance(source, ExplainedSource)
    equity, other = source.explain(NOW)

    assert (equity.key, equity.found) == ("values.equity.path", ("5",))
    assert (other.found, other.nearest) == ((), ("equity",))


# ─ the entry ─


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"body": "x"}, "say method: POST"),
        ({"method": "PUT"}, "'GET' or 'POST'"),
        ({"token_file": "t", "basic": {"user": "a", "password_file": "p"}}, "token_file and basic say the same thing"),
        ({"token_file": "t", "headers": {"authorization": "x"}}, "token_file and an Authorization header say"),
        ({"token_file": "t", "login": {"url": "http://a/"}}, "token_file and login say the same thing"),
        ({"login": {"url": "http://ada:hush@a/"}}, "basic: {user"),
        ({"login": {"url": "http://a/", "header": "a b"}}, "no name of a header"),
        ({"headers": {"X": "hush\nhush"}}, "cannot be sent in a header"),
        ({"tls": {"ca_file": "x"}}, "write https"),
        ({"tls": {"key_file": "x"}, "url": "https://a/"}, "say cert_file"),
        ({"url": "http://ada:hush@a/"}, "basic: {user"),
        ({"url": "ftp://a/"}, "an address reads like"),
        ({"zone": "Mars"}, "no time zone"),
        ({"values": {}}, "at least 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make_source(**({"url": "http://127.0.0.1/"} | fields))

    assert said in str(caught.value.errors(include_input=False))


def test_a_header_of_its_own_may_go_with_a_login() -> None:
    login = {"url": "http://a/", "header": "X-Auth-Token"}

    assert make_source("http://127.0.0.1/", login=login, headers={"Authorization": "x"}).login is not None


ENTRY = """\
sources:
  bot:
    type: http_json
    url: http://127.0.0.1:8080/api/v1/profit
    method: POST
    body: {key: "${KEY}"}
    login:
      url: http://127.0.0.1:8080/login
      body: {username: bot, password: "${KEY}", file: a}
      body_files: {otp: otp.txt}
      basic: {user: a, password_file: b.txt}
    values:
      path: account.equity
      size: {path: "positions[]", value: size, labels: {symbol: symbol}}
"""


def check(folder: Path, text: str) -> tuple[Any, list[str]]:
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "watchdog.yaml").write_text(text)
    config, problems = check_files([folder], environ={"KEY": "hush"})
    return config, [str(each).removeprefix(f"{folder}/") for each in problems]


def test_files_of_an_entry_start_from_its_folder_and_secrets_are_hidden(tmp_path: Path) -> None:
    config, problems = check(tmp_path, ENTRY)
    assert problems == []
    source = config.sources["bot"]

    assert source.login.body_files == {"otp": str(tmp_path / "otp.txt")}
    assert source.login.basic.password_file == str(tmp_path / "b.txt")
    assert source.login.body["file"].get_secret_value() == "a"
    assert source.body.get_secret_value() == '{"key": "hush"}'
    assert "hush" not in repr(source)


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("account.equity", "account[", "watchdog.yaml:13:13: no JMESPath"),
        ("value: size", "valeu: size", "watchdog.yaml:14:35: valeu is not known here — did you mean value?"),
        ("size: {path", "a-b: {path", "watchdog.yaml:14:7: "),
        ("symbol: symbol", "source: symbol", "the label source is the watchdog's own"),
    ],
)
def test_a_mistake_is_told_where_it_stands(was: str, becomes: str, said: str, tmp_path: Path) -> None:
    _, problems = check(tmp_path, ENTRY.replace(was, becomes))

    assert len(problems) == 1
    assert said in problems[0]


def test_an_error_names_what_is_looked_for_although_the_body_names_it_too(start_server: StartServer) -> None:
    server = start_server(respond_with("{}", headers=JSON))

    said = error_of(
        make_source(server.url, method="POST", body={"ask": "account_equity"}, values={"account_equity": "a"})
    )

    assert "account_equity" in said
