"""What a source is trusted with is seen by nobody: in no error, no log, no explanation, no answer and no picture of itself."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import ValidationError

from tests.sources.contract.environment import NOW, TYPES, Environment, make_pushed, make_source
from tests.sources.contract.secret_tables import (
    ASKED,
    SERVERS,
    TOLD,
    WORDS,
    address_of_nobody,
    unreadable_secrets,
)
from tests.sources.contract.sound import Deliveries
from tests.support.raw_http_server import respond_with
from tests.support.senders import TOKEN
from watchdog.core.errors import SourceError
from watchdog.core.protocols import ExplainedSource, PulledSource, SourceCache, SourceState


def _has_secrets(kind: str) -> bool:
    schema = json.dumps(TYPES[kind].model_json_schema())
    return '"format": "password"' in schema or any(f'"{name}"' in schema for name in ("token_file", "password_file"))


def test_every_source_that_is_given_secrets_is_tried_here() -> None:
    given = {kind for kind in TYPES if _has_secrets(kind)}

    assert given == {way.partition(" ")[0] for way in (*ASKED, *TOLD)}


def shapes(word: str) -> set[str]:
    """How it may look."""
    encoded = (base64.b64encode(f"{lead}{word}".encode()).decode().rstrip("=")[8:-2] for lead in ("bot:", ""))
    return {word, quote(word, safe=""), word[:9], word[-9:], *encoded}


def seen(source: PulledSource, caplog: pytest.LogCaptureFixture) -> str:
    """All that comes of reading it, explaining it, and looking at it."""
    state, cache, texts = SourceState(), SourceCache(), [source.identity]
    for number in range(2):
        try:
            list(source.read(state, cache, NOW + number))
        except SourceError as error:
            texts += [str(error), repr(error), *traceback.format_exception(error)]
    if isinstance(source, ExplainedSource):
        try:
            texts += map(repr, source.explain(NOW))
        except SourceError as error:
            texts += [str(error), *traceback.format_exception(error)]
    return "\n".join([*texts, repr(state), caplog.text])


def check_unseen(way: str, text: str) -> None:
    hits = [shape for name in ASKED[way].secrets for shape in shapes(WORDS[name]) if shape.lower() in text.lower()]
    assert not hits, next(line for line in text.splitlines() if hits[0].lower() in line.lower())


_ASKING = [way for way in ASKED if not way.startswith("command")]


@pytest.mark.parametrize(
    "server",
    [pytest.param(each, marks=[pytest.mark.slow] if number else []) for number, each in enumerate(SERVERS)],
)
@pytest.mark.parametrize("way", _ASKING)
def test_a_server_that_repeats_what_it_was_sent_makes_no_secret_seen(
    way: str, server: str, environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source = make_source(way.partition(" ")[0], ASKED[way].fields(environment, environment.serve(SERVERS[server]).url))

    check_unseen(way, seen(source, caplog))


def test_a_server_that_knows_the_login_and_then_repeats_all_makes_no_secret_seen(
    environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for behave in SERVERS.values():
        server = environment.serve(respond_with(f'{{"token": "{WORDS["token"]}"}}'))
        source = make_source("http_json", ASKED["http_json login"].fields(environment, server.url))
        asked = 0

        def answer(server: Any, connection: Any, behave: Any = behave) -> object:
            nonlocal asked
            asked += 1
            return (respond_with(f'{{"token": "{WORDS["token"]}"}}') if asked % 2 else behave)(server, connection)

        server.behaviour = answer
        text = seen(source, caplog)
        check_unseen("http_json login", text)
        assert WORDS["token"] not in text


@pytest.mark.parametrize("way", ASKED)
def test_where_nobody_listens_and_where_the_secrets_are_none_they_are_not_seen(
    way: str, environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source = make_source(way.partition(" ")[0], ASKED[way].fields(environment, address_of_nobody()))
    check_unseen(way, seen(source, caplog))
    assert not any(WORDS[name] in repr(source) for name in ASKED[way].secrets if name != "query")

    unreadable_secrets(environment.folder)
    check_unseen(way, seen(source, caplog))


@pytest.mark.parametrize("status", ["0", "1", "2", "3", "7"])
@pytest.mark.parametrize("way", [way for way in ASKED if way.startswith("command")])
def test_a_program_that_says_what_it_was_given_makes_no_secret_seen(
    way: str, status: str, environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    fields = ASKED[way].fields(environment, "")
    fields["env"]["STATUS"] = status

    check_unseen(way, seen(make_source("command", fields), caplog))


@pytest.mark.parametrize("way", _ASKING)
def test_an_entry_that_is_refused_does_not_show_its_secrets(way: str, environment: Environment) -> None:
    fields = ASKED[way].fields(environment, address_of_nobody())
    for url in (f"http://bot:{WORDS['password']}@h/", f"ftp://bot:{WORDS['password']}@h/", f"{WORDS['password']}"):
        with pytest.raises(ValidationError) as caught:
            make_source(way.partition(" ")[0], {**fields, "url": url})
        said = [str(each["msg"]) for each in caught.value.errors(include_input=False)]
        assert not any(word in text for word in WORDS.values() for text in said)


@pytest.mark.parametrize("kind", TOLD)
def test_whoever_breaks_it_learns_no_token_and_no_log_holds_one(
    kind: str, environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    fields, misuse = TOLD[kind]
    source = make_pushed(kind, fields(environment))
    heard = Deliveries()
    receiver = source.receive("bot", {}, heard, lambda: NOW)
    try:
        misuse(environment)
    finally:
        receiver.close()
    states = repr([state for _, state in heard.made])
    for text in (repr(source), source.identity, caplog.text, states):
        assert TOKEN not in text
