from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest
from prometheus_client.exposition import choose_encoder
from pydantic import SecretStr, ValidationError

from tests.support.raw_http_server import (
    Behaviour,
    RawHttpServer,
    StartServer,
    never_respond,
    respond_slowly,
    respond_with,
)
from watchdog.core.errors import SourceError
from watchdog.core.model import Sample
from watchdog.core.protocols import SourceCache, SourceState
from watchdog.sources import ScrapeSource

NOW = 1_700_000_000_000
LONG_TIMEOUT = 20_000  # for servers that answer: a busy machine must not fail the test
SHORT_TIMEOUT = 60  # for servers that never will


def make_source(server: RawHttpServer | str, timeout: int = LONG_TIMEOUT, **fields: object) -> ScrapeSource:
    url = server if isinstance(server, str) else server.url
    return ScrapeSource.model_validate({"type": "scrape", "url": url, "timeout": timeout, **fields})


def read_error(behave: Behaviour, start_server: StartServer, timeout: int = LONG_TIMEOUT, **fields: object) -> str:
    with pytest.raises(SourceError) as caught:
        make_source(start_server(behave), timeout, **fields).read({}, {}, NOW)
    return str(caught.value)


def test_a_page_is_read(start_server: StartServer) -> None:
    assert make_source(start_server(respond_with("equity 5\n"))).read({}, {}, NOW) == [Sample("equity", (), NOW, 5.0)]


def test_the_connection_is_kept_between_reads(start_server: StartServer) -> None:
    server, cache = start_server(respond_with("equity 5\n")), SourceCache()
    for _ in range(3):
        make_source(server).read({}, cache, NOW)

    assert (len(server.requests), server.connections) == (3, 1)


def test_a_server_that_never_ends_is_reported_not_awaited(start_server: StartServer) -> None:
    endless = respond_slowly(b"HTTP/1.1 200 OK\r\n\r\n", b"a")

    assert "no whole answer within 60 ms" in read_error(endless, start_server, SHORT_TIMEOUT)


def test_a_read_after_a_failed_one_starts_afresh(start_server: StartServer) -> None:
    server, cache = start_server(never_respond), SourceCache()
    with pytest.raises(SourceError):
        make_source(server, SHORT_TIMEOUT).read({}, cache, NOW)
    server.behaviour = respond_with("equity 5\n")

    assert make_source(server).read({}, cache, NOW) == [Sample("equity", (), NOW, 5.0)]


def test_a_server_that_is_down_is_told_with_the_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(SourceError, match="nobody listens there — is the server running"):
        make_source(f"http://127.0.0.1:{port}/metrics").read({}, {}, NOW)


@pytest.mark.parametrize(
    ("behave", "said"),
    [
        (respond_with("oops", "500 Internal Server Error"), "answered 500 Internal Server Error"),
        (respond_with("equity 5\n", length=100), "broke off half-way"),
        (respond_with("equity 5\nequity_hig"), "breaks off within its last line"),
        (respond_with("equity 5\ngarbage\n"), "line 2 of the page is no sample"),
        (respond_with("x" * 2**20 + "\n"), "line 1 of the page has 1048576 characters"),
        (respond_with(os.urandom(2**20) + b"\n"), "not UTF-8"),
        (respond_with("<html>\n</html>\n", headers={"Content-Type": "text/html"}), "is this the metrics page?"),
        (respond_with("{}\n", headers={"Content-Type": "application/json"}), "serves application/json"),
        (respond_with("a 1\n", headers={"Content-Type": "application/openmetrics-text"}), "does not end with # EOF"),
        (respond_with(""), "the page is empty"),
    ],
)
def test_what_is_no_whole_metrics_page_yields_nothing_but_the_reason(
    behave: Behaviour, said: str, start_server: StartServer
) -> None:
    assert said in read_error(behave, start_server)


OPENMETRICS = {"Content-Type": "application/openmetrics-text; version=1.0.0; charset=utf-8"}


def test_openmetrics_is_known_by_its_content_type_and_counts_its_times_in_seconds(start_server: StartServer) -> None:
    server = start_server(respond_with("a 1 1699999999.5\n# EOF\n", headers=OPENMETRICS))

    assert make_source(server).read({}, {}, NOW) == [Sample("a", (), NOW - 500, 1.0)]


def test_a_server_may_change_from_one_format_to_the_other(start_server: StartServer) -> None:
    server, cache = start_server(respond_with("a 1\n")), SourceCache()
    for behave in (respond_with("a 1\n# EOF\n", headers=OPENMETRICS), respond_with("a 1\n")) * 2:
        server.behaviour = behave
        assert make_source(server).read({}, cache, NOW) == [Sample("a", (), NOW, 1.0)]


def test_openmetrics_is_asked_for_when_it_is_wanted_and_not_even_named_otherwise(start_server: StartServer) -> None:
    server = start_server(respond_with("equity 5\n"))
    make_source(server).read({}, {}, NOW)
    make_source(server, openmetrics=True).read({}, {}, NOW)

    accepted = [re.search("Accept: (.*)\r", request) for request in server.requests]
    plain, wanted = (match[1] if match is not None else "" for match in accepted)
    assert "openmetrics" not in plain
    assert plain.startswith("text/plain;version=0.0.4;q=1,")
    assert wanted.startswith("application/openmetrics-text;version=1.0.0;q=1,text/plain")


@pytest.mark.parametrize(("wanted", "content_type"), [(False, "text/plain"), (True, "application/openmetrics-text")])
def test_the_client_library_sends_what_is_asked_for(wanted: bool, content_type: str, start_server: StartServer) -> None:
    server = start_server(respond_with("equity 5\n"))
    make_source(server, openmetrics=wanted).read({}, {}, NOW)
    accepted = re.search("Accept: (.*)\r", server.requests[0])
    assert accepted is not None

    assert choose_encoder(accepted[1])[1].partition(";")[0] == content_type


def test_a_read_of_openmetrics_that_fails_leaves_the_state_as_it_was(start_server: StartServer) -> None:
    page = "# TYPE a counter\na_total 1\na_created 1699999000\n"
    server, cache, state = (
        start_server(respond_with(page + "# EOF\n", headers=OPENMETRICS)),
        SourceCache(),
        SourceState(),
    )
    source = make_source(server)
    source.read(state, cache, NOW)
    assert state == {"created": 1_699_999_000_000}
    server.behaviour = respond_with(page.replace("9000", "9999"), headers=OPENMETRICS)

    with pytest.raises(SourceError, match="cut short"):
        source.read(state, cache, NOW)

    assert state == {"created": 1_699_999_000_000}


def test_a_page_above_the_cap_is_refused_whole(start_server: StartServer) -> None:
    assert "more than 1000 bytes — raise max_bytes" in read_error(
        respond_with("equity 5\n" * 200), start_server, max_bytes=1000
    )


def test_headers_are_sent_and_never_shown(start_server: StartServer) -> None:
    server = start_server(respond_with("equity 5\n"))
    part = make_source(server, headers={"X-Key": SecretStr("hush")})
    part.read({}, {}, NOW)

    assert "X-Key: hush" in server.requests[0]
    assert "text/plain" in server.requests[0]
    assert "hush" not in repr(part)


@pytest.mark.parametrize(
    "behave",
    [
        respond_with("Bearer s3cret-token-of-ours-that-is-longer-than-what-is-quoted\n"),
        respond_with("a 1\n", headers={"Content-Type": "s3cret-token-of-ours/x"}),
        respond_with("", "302 Found", headers={"Location": "/s3cret-token-of-ours"}),
    ],
)
def test_a_server_that_repeats_what_it_was_sent_is_not_quoted(behave: Behaviour, start_server: StartServer) -> None:
    said = read_error(
        behave,
        start_server,
        headers={"X-Key": SecretStr("Bearer s3cret-token-of-ours-that-is-longer-than-what-is-quoted")},
    )

    assert "***" in said
    assert "s3cret" not in said


def test_a_content_type_without_end_is_cut_short(start_server: StartServer) -> None:
    assert len(read_error(respond_with("a 1\n", headers={"Content-Type": "x" * 5_000}), start_server)) < 300


def test_a_header_that_http_does_not_allow_is_refused_at_load_without_showing_it() -> None:
    with pytest.raises(ValidationError, match="the value of X-Key cannot be sent in a header") as refused:
        make_source("http://h/metrics", headers={"X-Key": SecretStr("hush\nhush")})

    assert "hush" not in str(refused.value.errors(include_input=False))


def test_a_token_file_is_read_anew_each_time(start_server: StartServer, tmp_path: Path) -> None:
    server, token, cache = start_server(respond_with("equity 5\n")), tmp_path / "token", SourceCache()
    for text in ("first\n", "second\n"):
        token.write_text(text)
        make_source(server, token_file=str(token)).read({}, cache, NOW)

    assert "Authorization: Bearer first" in server.requests[0]
    assert "Authorization: Bearer second" in server.requests[1]


@pytest.mark.parametrize(("held", "said"), [(None, "No such file"), ("", "no token"), ("two words", "no token")])
def test_a_token_file_without_a_token_is_told(
    held: str | None, said: str, start_server: StartServer, tmp_path: Path
) -> None:
    if held is not None:
        (tmp_path / "token").write_text(held)

    assert said in read_error(respond_with("equity 5\n"), start_server, token_file=str(tmp_path / "token"))


def test_what_follows_the_question_mark_is_not_shown() -> None:
    with pytest.raises(SourceError) as caught:
        make_source("http://127.0.0.1:9/metrics?key=hush").read({}, {}, NOW)

    assert "hush" not in str(caught.value)
    assert make_source("http://127.0.0.1:9/metrics?key=hush#hush").identity == "http://127.0.0.1:9/metrics"


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000/metrics", "ftp://host/metrics", "http://", "http://h:99999/", "http://h/a b", "http://[1/"]
)
def test_an_address_that_cannot_be_one_is_refused_at_load(url: str) -> None:
    with pytest.raises(ValidationError, match="reads like http://"):
        make_source(url)


def test_a_password_in_the_address_is_refused_at_load() -> None:
    with pytest.raises(ValidationError, match="as basic"):
        make_source("http://user:hush@127.0.0.1/metrics")


def test_two_authorizations_are_refused_at_load() -> None:
    with pytest.raises(ValidationError, match="keep one"):
        make_source("http://h/metrics", token_file="t", headers={"authorization": SecretStr("Basic x")})


def test_durations_read_as_people_write_them() -> None:
    part = ScrapeSource.model_validate({"type": "scrape", "url": "http://h/metrics", "every": "250ms", "timeout": "2s"})

    assert (part.every, part.timeout) == (250, 2_000)


def test_a_rhythm_of_nothing_is_refused_at_load() -> None:
    with pytest.raises(ValidationError, match="too short"):
        make_source("http://h/metrics", every="0s")
