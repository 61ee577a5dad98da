"""A bot that sends its numbers itself."""

from __future__ import annotations

import gzip
import json
import math
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.property_settings import examples
from tests.support.senders import TOKEN, Heard, Web
from watchdog.core.errors import SourceError
from watchdog.core.inbox import http_inbox
from watchdog.net.deadline import Deadline
from watchdog.sources import PushSource
from watchdog.sources.exposition import PageCache, PageLimits
from watchdog.sources.push import PushReceiver
from watchdog.sources.push_body import parse_body

NOW = 1_700_000_000_000
TEXT = "text/plain; version=0.0.4"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def heard() -> Heard:
    return Heard()


Open = Callable[..., PushReceiver]


@pytest.fixture
def open_push(web: Web, heard: Heard, clock: Clock) -> Iterator[Open]:
    opened: list[PushReceiver] = []

    def open_it(name: str = "bot", **fields: Any) -> PushReceiver:
        source = PushSource.model_validate({"type": "push", "token_file": str(web.token_file), **fields})
        opened.append(source.receive(name, {}, heard, clock))
        return opened[-1]

    yield open_it
    for each in opened:
        each.close()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (TEXT, 'equity 1.5\npositions{symbol="BTC"} 2\n'),
        (TEXT, 'equity 1.5\npositions{symbol="BTC"} 2'),
        ("", 'equity 1.5\npositions{symbol="BTC"} 2'),
        ("application/x-www-form-urlencoded", 'equity 1.5\npositions{symbol="BTC"} 2'),
        (
            "application/x-ndjson",
            '{"name":"equity","value":1.5}\n{"name":"positions","value":"2","labels":{"symbol":"BTC"}}',
        ),
        (
            "application/json",
            '[{"name":"equity","value":1.5},{"name":"positions","value":2,"labels":{"symbol":"BTC"}}]',
        ),
        (
            "application/json; charset=utf-8",
            '{"equity": 1.5}\n{"name":"positions","value":2,"labels":{"symbol":"BTC","none":""}}\n',
        ),
    ],
)
def test_numbers_come_as_prometheus_text_or_json(web: Web, open_push: Open, heard: Heard, kind: str, body: str) -> None:
    open_push()

    assert web.push("bot", body, kind) == (204, "")

    assert heard.values == {"equity": 1.5, 'positions{symbol="BTC"}': 2.0}
    assert {sample.t for sample in heard.made[-1][0]} == {NOW}


def test_a_plain_object_is_one_series_a_key(web: Web, open_push: Open, heard: Heard) -> None:
    open_push()

    web.push("bot", json.dumps({"equity": 10_250.5, "halted": False, "name": 3}))

    assert heard.values == {"equity": 10_250.5, "halted": 0.0, "name": 3.0}


def test_a_time_of_its_own_is_kept_and_what_lies_ahead_is_now(web: Web, open_push: Open, heard: Heard) -> None:
    open_push()

    web.push("bot", '{"name":"a","value":1,"time":1699999990}\n{"name":"b","value":1,"time":"2031-01-01T00:00:00Z"}')
    web.push("bot", f"c 1 {NOW - 5_000}\nd 1 {NOW + 5_000}\n", TEXT)

    times = {sample.name: sample.t for made, _ in heard.made for sample in made if sample.name not in ("c", "d")}
    assert heard.made[0][0][0].t == NOW - 10_000
    assert times["b"] <= NOW
    assert {sample.name: sample.t for sample in heard.made[1][0]}["c"] == NOW - 5_000
    assert {sample.name: sample.t for sample in heard.made[1][0]}[
        "d"
    ] == NOW + 1  # the second push within a millisecond


def test_what_is_posted_adds_to_what_was_and_what_is_put_is_all_there_is(
    web: Web, open_push: Open, heard: Heard, clock: Clock
) -> None:
    open_push()
    web.push("bot", '{"equity": 1, "positions": 2}')
    clock.now += 1_000
    web.push("bot", '{"equity": 3}')

    assert heard.values == {"equity": 3.0, "positions": 2.0}
    told = {sample.name: sample.t for sample in heard.made[-1][0]}
    assert told["equity"] == clock.now
    assert told["positions"] <= NOW, "what did not come again is no newer for that"

    web.push("bot", '{"equity": 4}', method="PUT")

    assert heard.values == {"equity": 4.0}


def test_many_series_that_come_one_by_one_are_told_with_few_times(
    web: Web, open_push: Open, heard: Heard, clock: Clock
) -> None:
    open_push()
    for number in range(60):
        clock.now += 4_000
        web.push("bot", f'{{"series_{number}": 1}}')

    assert len(heard.values) == 60
    assert len({sample.t for sample in heard.made[-1][0]}) <= 9


def test_a_series_that_comes_no_more_is_gone_after_a_while(
    web: Web, open_push: Open, heard: Heard, clock: Clock
) -> None:
    open_push(forget="30s")
    web.push("bot", '{"a": 1, "b": 1}')
    clock.now += 29_999
    web.push("bot", '{"a": 2}')
    assert set(heard.values) == {"a", "b"}

    clock.now += 1
    web.push("bot", '{"a": 3}')

    assert set(heard.values) == {"a"}


def test_a_number_need_not_be_finite_in_prometheus_text(web: Web, open_push: Open, heard: Heard) -> None:
    open_push()

    web.push("bot", "a NaN\nb +Inf\n", TEXT)

    assert math.isnan(heard.values["a"])
    assert heard.values["b"] == math.inf


def test_after_a_restart_there_is_what_is_pushed_since(web: Web, open_push: Open, heard: Heard) -> None:
    first = open_push()
    web.push("bot", '{"a": 1}')
    assert heard.state == {}, "it remembers nothing"
    first.close()
    open_push()

    web.push("bot", '{"b": 1}')

    assert heard.values == {"b": 1.0}


def test_two_pushes_within_a_millisecond_are_two_samples(web: Web, open_push: Open, heard: Heard) -> None:
    open_push()
    for value in (1, 2, 3):
        web.push("bot", f'{{"equity": {value}}}')

    assert [sample.t for made, _ in heard.made for sample in made] == [NOW, NOW + 1, NOW + 2]


def test_after_the_clock_was_set_back_what_is_pushed_counts(
    web: Web, open_push: Open, heard: Heard, clock: Clock
) -> None:
    open_push()
    web.push("bot", '{"equity": 1}')
    clock.now -= 3_600_000
    web.push("bot", '{"equity": 2}')

    assert heard.made[-1][0][0][2:] == (clock.now, 2.0)


def test_after_the_clock_was_set_by_a_day_what_was_pushed_is_still_there(
    web: Web, open_push: Open, heard: Heard, clock: Clock
) -> None:
    receiver = open_push()
    web.push("bot", '{"a": 1}')
    clock.now += 86_400_000
    receiver.shift_times(86_400_000)
    web.push("bot", '{"b": 1}')

    assert heard.values == {"a": 1.0, "b": 1.0}


# ─ who may ─


@pytest.mark.parametrize("name", ["bot", "nobody", "", "bot/more", "%ff", "a%2Fb"])
@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "é"]
)
def test_without_the_token_nobody_learns_whether_there_is_such_a_source(
    web: Web, open_push: Open, heard: Heard, name: str, authorization: str | None
) -> None:
    open_push()
    headers = {} if authorization is None else {"Authorization": authorization}

    code, text = web.ask("POST", f"/push/{name}", '{"equity": 1}', headers)

    assert (code, text) == web.push("nobody", "x")
    assert code == 401
    assert "token_file" in text
    assert heard.made == []


def test_a_source_takes_its_own_token_and_no_other(web: Web, open_push: Open, tmp_path: Any) -> None:
    other = tmp_path / "other"
    other.write_text("another-token-of-another")
    other.chmod(0o600)
    open_push("bot")
    open_push("other", token_file=str(other))

    assert web.push("other", '{"a": 1}')[0] == 401
    assert web.push("other", '{"a": 1}', token="another-token-of-another")[0] == 204
    assert web.push("bot", '{"a": 1}', token="another-token-of-another")[0] == 401


def test_a_token_may_be_rotated(web: Web, open_push: Open) -> None:
    open_push()
    assert web.push("bot", '{"a": 1}')[0] == 204
    web.token_file.write_text("the-next-token-of-the-bot")

    assert web.push("bot", '{"a": 1}')[0] == 401
    assert web.push("bot", '{"a": 1}', token="the-next-token-of-the-bot")[0] == 204


def test_a_token_that_cannot_be_read_any_more_is_said_in_the_log_and_not_to_strangers(
    web: Web, open_push: Open, caplog: pytest.LogCaptureFixture
) -> None:
    open_push()
    web.token_file.unlink()

    code, text = web.push("bot", '{"a": 1}')

    assert (code, str(web.token_file) in text) == (503, False)
    assert str(web.token_file) in caplog.text
    assert TOKEN not in caplog.text


def test_who_asks_again_and_again_fills_no_log(web: Web, open_push: Open, caplog: pytest.LogCaptureFixture) -> None:
    open_push()
    web.token_file.chmod(0o666)
    for _ in range(3):
        assert web.push("bot", '{"a": 1}', token="some-token-of-a-stranger")[0] == 503
    assert caplog.text.count("takes nothing") == 1
    web.token_file.chmod(0o600)
    assert web.push("bot", '{"a": 1}')[0] == 204
    web.token_file.chmod(0o666)

    assert web.push("bot", '{"a": 1}')[0] == 503
    assert caplog.text.count("takes nothing") == 2, "it had been well meanwhile"


def test_a_token_that_could_be_guessed_is_refused(web: Web, open_push: Open) -> None:
    web.token_file.write_text("hunter2")
    with pytest.raises(SourceError, match="holds no token of 16 characters or more — ") as caught:
        open_push()
    assert "hunter2" not in str(caught.value)


def test_without_a_web_server_there_is_nothing_to_be_told(open_push: Open) -> None:
    before = http_inbox.set(None)
    try:
        with pytest.raises(SourceError, match="only the daemon"):
            open_push()
    finally:
        http_inbox.reset(before)


def test_another_web_site_cannot_have_a_browser_push(web: Web, open_push: Open, heard: Heard) -> None:
    open_push()

    for more in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        assert web.push("bot", '{"a": 1}', more=more)[0] == 403
    assert web.push("bot", '{"a": 1}', more={"Host": "evil.example"})[0] == 421
    assert heard.made == []


def test_only_post_and_put_are_taken(web: Web, open_push: Open) -> None:
    open_push()

    for method in ("GET", "HEAD", "DELETE", "PATCH", "OPTIONS"):
        assert web.ask(method, "/push/bot")[0] == 405


def test_while_no_source_is_told_there_is_no_such_page(web: Web) -> None:
    assert web.ask("GET", "/push/bot")[0] == 404
    assert web.ask("POST", "/push/bot", "x")[0] == 405


# ─ what is wrong is said ─


@pytest.mark.parametrize(
    ("kind", "body", "code", "said"),
    [
        (TEXT, "equity 1\nbalance one\n", 400, "line 2 of the body is no sample: 'balance one'"),
        (TEXT, "equity 1\nequity 2\n", 400, "line 2 of the body repeats a series"),
        (TEXT, "", 400, "the body is empty"),
        (TEXT, "# nothing\n", 400, "holds no sample"),
        (TEXT, b"equity \xff\n", 400, "byte 7 of the body is not UTF-8"),
        ("application/json", "", 400, "line 1 is no JSON"),
        ("application/json", '{"equity": 1}\n{"equity"', 400, "line 2 is no JSON"),
        ("application/json", '{\n"equity": 1,\n}', 400, "line 3 is no JSON"),
        ("application/json", '{"a": 1}\n\n{"equity": "one"}', 400, "line 3: equity is no finite number"),
        ("application/json", '{"equity": NaN}', 400, "equity is no finite number"),
        ("application/json", '{"equity": null}', 400, "equity is no finite number"),
        ("application/json", '{"equity": 1' + "0" * 400 + "}", 400, "equity is no finite number"),
        ("application/json", '{"equity": 1' + "0" * 5_000 + "}", 400, "a number that is none"),
        ("application/json", '{"equity": {"usd": 1}}', 400, "equity is no finite number"),
        ("application/json", '{"equity.usd": 1}', 400, "'equity.usd' is no metric name"),
        ("application/json", '{"up": 1}', 400, "up is what the watchdog says"),
        ("application/json", '{"a": 1, "a": 2}', 400, "the key 'a' stands twice"),
        ("application/json", '{"a": 1}\n{"a": 2}', 400, "line 2 repeats the series a"),
        ("application/json", '{"name": "a"}', 400, "a is no finite number"),
        ("application/json", '{"name": "a", "value": 1, "lables": {}}', 400, "'lables' is no key of a sample"),
        ("application/json", '{"name": "a", "value": 1, "labels": []}', 400, "the labels of a are no object"),
        ("application/json", '{"name": "a", "value": 1, "labels": {"x-y": 1}}', 400, "'x-y' is no label name"),
        ("application/json", '{"name": "a", "value": 1, "labels": {"x": []}}', 400, "the label x is no text"),
        ("application/json", '{"name": "a", "value": 1, "labels": {"x": "\\ud800"}}', 400, "the label x is no text"),
        ("application/json", '{"name": "a", "value": 1, "time": "noon"}', 400, "the time of a is none"),
        ("application/json", "[]", 400, "holds no sample"),
        ("application/json", "{}", 400, "holds no sample"),
        ("application/json", "[1]", 400, "item 1 is no object"),
        ("application/json", "3", 400, "is no object"),
        ("application/json", "[" * 500_000, 400, "nested too deeply"),
        ("application/openmetrics-text", "a 1\n# EOF\n", 415, "send Prometheus text as text/plain"),
        ("image/png", "x", 415, "image/png is not read"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line_and_changes_nothing(
    web: Web, open_push: Open, heard: Heard, kind: str, body: str | bytes, code: int, said: str
) -> None:
    open_push()

    got, text = web.push("bot", body, kind)

    assert got == code
    assert said in text
    assert text.count("\n") == 1
    assert " — " in text
    assert heard.made == []


def test_more_than_max_bytes_is_refused_however_it_is_packed(web: Web, open_push: Open, heard: Heard) -> None:
    open_push(max_bytes=1_000)
    large = b"equity 1\n#" + b" " * 10_000 + b"\n"

    assert web.push("bot", large, TEXT)[0] == 413
    assert web.push("bot", gzip.compress(large), TEXT, more={"Content-Encoding": "gzip"})[0] == 413
    assert web.push("bot", gzip.compress(b"equity 1\n"), TEXT, more={"Content-Encoding": "gzip"})[0] == 204
    assert web.push("bot", b"equity 1\n", TEXT, more={"Content-Encoding": "gzip"})[0] == 400
    assert web.push("bot", gzip.compress(b"equity 1\n")[:-4], TEXT, more={"Content-Encoding": "gzip"})[0] == 400
    assert web.push("bot", b"equity 1\n", TEXT, more={"Content-Encoding": "br"})[0] == 415
    assert len(heard.made) == 1


def test_a_bot_that_makes_up_names_is_refused_before_they_fill_the_memory(
    web: Web, open_push: Open, heard: Heard
) -> None:
    open_push(max_series=10)
    for number in range(4):
        assert web.push("bot", json.dumps({f"m{number}_{i}": i for i in range(10)}))[0] == 204

    code, text = web.push("bot", '{"one_more": 1}')

    assert (code, "max_series" in text) == (413, True)
    assert len(heard.values) == 40
    assert web.push("bot", '{"m0_0": 5}')[0] == 204, "what is known goes on"
    assert web.push("bot", '{"one_more": 1}', method="PUT")[0] == 204


@pytest.mark.parametrize(
    "body",
    [
        f'{{"name": "a", "value": 1, "labels": {{"k": "{"x" * 1_025}"}}}}',
        json.dumps({"name": "a", "value": 1, "labels": {f"k{number}": "x" for number in range(65)}}),
        json.dumps({"name": "a", "value": 1, "labels": {f"k{number}": "x" * 1_000 for number in range(5)}}),
    ],
)
def test_a_series_that_is_too_long_is_refused_before_it_fills_the_memory(
    web: Web, open_push: Open, heard: Heard, body: str
) -> None:
    open_push()

    code, text = web.push("bot", body)

    assert code == 400
    assert text.startswith("a series of a is too long — a series has at most 64 labels, 1024 characters in a value")
    assert heard.made == []


def test_pushes_that_come_faster_than_said_for_long_are_refused(
    web: Web, open_push: Open, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.sources.delivery_limit._MAX_BURST", 5)
    open_push(every="1h")

    answers = [web.push("bot", '{"equity": 1}') for _ in range(6)]

    assert [code for code, _ in answers] == [204] * 5 + [429]
    assert "every: 1 h" in answers[-1][1]
    assert len(heard.made) == 5


def test_while_too_much_waits_to_be_judged_none_is_taken(web: Web, open_push: Open, heard: Heard) -> None:
    open_push()
    heard.waiting = 64

    assert web.push("bot", '{"a": 1}')[0] == 204
    assert web.push("bot", '{"a": 2}')[0] == 429
    assert len(heard.made) == 1


# ─ over the wire ─


def test_one_connection_carries_many_pushes(web: Web, open_push: Open, heard: Heard) -> None:
    open_push()
    with requests.Session() as bot:
        bot.headers["Authorization"] = f"Bearer {TOKEN}"
        for value in range(50):
            answer = bot.post(f"http://127.0.0.1:{web.port}/push/bot", json={"equity": value}, timeout=30)
            assert answer.status_code == 204
            assert answer.headers["Connection"] == "keep-alive"
        (pool,) = bot.get_adapter("http://x").poolmanager.pools._container.values()  # type: ignore[attr-defined]

    assert pool.num_connections == 1
    assert heard.values == {"equity": 49.0}
    assert len(heard.made) == 50


def test_curl_pushes_a_large_file_and_a_generator_sends_chunks(
    web: Web, open_push: Open, heard: Heard, tmp_path: Any
) -> None:
    open_push()
    file = tmp_path / "metrics"
    file.write_text("".join(f"series_{i} {i}\n" for i in range(5_000)) + "#" + " " * 900_000)
    url = f"http://127.0.0.1:{web.port}/push/bot"
    done = subprocess.run(
        ["curl", "-sS", "--fail", "-H", f"Authorization: Bearer {TOKEN}", "--data-binary", f"@{file}", url],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(heard.values) == 5_000

    lines = (f'{{"name": "tick", "value": {i}, "labels": {{"n": "{i}"}}}}\n'.encode() for i in range(100))
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/x-ndjson"}
    assert requests.put(url, data=lines, headers=headers, timeout=30).status_code == 204
    assert len(heard.values) == 100


def test_many_bots_push_at_once_and_none_is_lost(web: Web, open_push: Open, heard: Heard) -> None:
    open_push()
    codes: list[int] = []

    def push(number: int) -> None:
        codes.extend(web.push("bot", f'{{"bot_{number}": {value}}}')[0] for value in range(20))

    bots = [threading.Thread(target=push, args=(number,)) for number in range(8)]
    for each in bots:
        each.start()
    for each in bots:
        each.join()

    assert codes == [204] * 160
    assert heard.values == {f"bot_{number}": 19.0 for number in range(8)}


def test_what_is_answered_is_delivered_and_nothing_comes_after_the_end(web: Web, open_push: Open, heard: Heard) -> None:
    receiver = open_push()
    codes: list[int] = []

    def push() -> None:
        while not codes or codes[-1] == 204:
            codes.append(web.push("bot", '{"a": 1}')[0])

    bots = [threading.Thread(target=push) for _ in range(4)]
    for each in bots:
        each.start()
    heard.wait_until(lambda heard: len(heard.made) > 20)
    receiver.close()
    delivered = len(heard.made)
    for each in bots:
        each.join()

    assert delivered == len(heard.made) == codes.count(204)
    assert set(codes) == {204, 503}, "a source that may come back is worth another try"


def test_another_source_of_the_same_name_goes_on_in_its_place(web: Web, open_push: Open, heard: Heard) -> None:
    first = open_push()
    web.push("bot", '{"a": 1}')
    first.close()
    open_push()

    assert web.push("bot", '{"b": 1}')[0] == 204


# ─ bodies of any kind ─

LIMITS = PageLimits(1_000, Deadline.after(60_000))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["name", "value", "labels", "time", "equity", "a b"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=examples(300), deadline=None)
@given(
    st.sampled_from(["", "text/plain", "application/json", "application/x-ndjson", "x"]),
    st.binary(max_size=200)
    | st.lists(JSON.map(json.dumps), max_size=4).map(lambda lines: "\n".join(lines).encode())
    | st.text(alphabet='{}[]":,ae1 \n', max_size=60).map(str.encode),
)
def test_any_body_is_samples_or_one_line_of_error(kind: str, body: bytes) -> None:
    found, text = [], ""
    try:
        found = parse_body(kind, body, NOW, PageCache(), LIMITS)
    except SourceError as error:
        text = str(error)
    assert "\n" not in text
    assert len(text) < 400
    assert bool(found) is not bool(text)
    names = [sample[:2] for sample in found]
    assert len(set(names)) == len(names)
    assert all(sample.t <= NOW for sample in found)


def test_a_key_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError):
        PushSource.model_validate({"type": "push", "token_file": "x", "token": "secret"})


def test_it_is_down_after_three_pushes_that_do_not_come() -> None:
    assert PushSource(type="push", token_file="x").deadline == 30_000
    assert PushSource.model_validate({"type": "push", "token_file": "x", "timeout": "5s"}).deadline == 5_000
