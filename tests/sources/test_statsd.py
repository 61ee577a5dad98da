"""A bot that sends StatsD."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.ports import free_port
from tests.support.property_settings import examples
from tests.support.senders import Heard
from watchdog.core.errors import SourceError
from watchdog.core.model import Sample
from watchdog.core.protocols import SourceState
from watchdog.sources import StatsdSource
from watchdog.sources.series_limits import _is_sound
from watchdog.sources.statsd import StatsdReceiver
from watchdog.sources.statsd_line import parse_line
from watchdog.sources.statsd_table import OWN_COUNTERS, StatsdTable

NOW = 1_700_000_000_000


def make_table(state: SourceState | None = None, most: int = 100, signed: Any = "delta") -> StatsdTable:
    return StatsdTable(state or {}, 60_000, most, signed)


def read(*datagrams: bytes, table: StatsdTable | None = None, now: int = NOW) -> dict[str, float]:
    """What those datagrams amount to, without what is counted of the source itself."""
    table = table or make_table()
    for each in datagrams:
        table.read_datagram(each)
    table.end_sets()
    found = {}
    for name, labels, _, value in table.take(now)[0]:
        if name not in OWN_COUNTERS:
            text = ",".join(f"{label}={said}" for label, said in labels)
            found[f"{name}{{{text}}}" if text else name] = value
    return found


def invalid(*datagrams: bytes, **more: Any) -> float:
    table = make_table(**more)
    for each in datagrams:
        table.read_datagram(each)
    return next(sample.v for sample in table.take(NOW)[0] if sample.name == "statsd_invalid_total")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (b"orders:1|c\norders:2|c\n", {"orders": 3.0}),
        (b"orders:1|c|@0.1", {"orders": 10.0}),
        (b"bot.orders-new per/s:1|c", {"bot_orders_new_per_s": 1.0}),
        (b"1st:1|c", {"_1st": 1.0}),
        (b"orders:1|c|#side:buy,venue:x:y,live", {"orders{live=true,side=buy,venue=x:y}": 1.0}),
        (b"orders:1|c|@0.5|#b:2,a:1|c:container|T1656581400", {"orders{a=1,b=2}": 2.0}),
        (b"orders:1|c|#side:", {"orders": 1.0}),
        (b"equity:5|g\nequity:7.25|g", {"equity": 7.25}),
        (b"equity:5|g\nequity:+2|g\nequity:-3|g", {"equity": 4.0}),
        (b"equity:-3|g", {"equity": -3.0}),
        (b"equity:1e3|g", {"equity": 1_000.0}),
        (b"t:3|ms\nt:5|ms\nt:4|ms", {"t_count": 3.0, "t_sum": 12.0, "t_max": 5.0}),
        (b"t:3:5:4|h", {"t_count": 3.0, "t_sum": 12.0, "t_max": 5.0}),
        (b"t:3|d|@0.5", {"t_count": 2.0, "t_sum": 6.0, "t_max": 3.0}),
        (b"users:a|s\nusers:b|s\nusers:a|s\nusers:c:d|s", {"users": 3.0}),
        (b"_e{5,4}:title|text\n_sc|db|0\n\n", {}),
        (b"equity:5|g\r\n\0", {"equity": 5.0}),
    ],
)
def test_what_lines_amount_to(lines: bytes, said: dict[str, float]) -> None:
    assert read(lines) == said
    assert read(*lines.split(b"\n")) == said
    assert invalid(lines) == 0


@pytest.mark.parametrize(
    "line",
    [
        b"x",
        b":1|c",
        b"a:|c",
        b"a:1",
        b"a:1|",
        b"a:1|x",
        b"a:one|c",
        b"a:nan|g",
        b"a:inf|g",
        b"a:1e999|g",
        b"a:-1|c",
        b"a:1:|c",
        b"a:1|c|@0",
        b"a:1|c|@2",
        b"a:1|c|@x",
        b"a:1|c|what",
        b"a:|s",
        b"a:1_0|c",
        b"a: 1|c",
        "a:١|c".encode(),
        b"\xff:1|c",
        b"up:1|g",
        b"statsd_lines_total:1|c",
        b"a:1|c|#__name__:b",
        b"a:1|c|#:b",
        b"n" * 300 + b":1|c",
        b"a:1|c|#" + b",".join(b"t%d:1" % n for n in range(70)),
        b"a:1|c|#t:" + b"v" * 2_000,
        b"a:" + b":".join([b"1"] * 2_000) + b"|ms",
        b"\x00" * 10 + b"x",
    ],
)
def test_what_is_no_metric_is_counted_and_nothing_else(line: bytes) -> None:
    assert parse_line(line) is None or line == b"statsd_lines_total:1|c"
    assert read(line) == {}
    assert invalid(line) == 1


def test_a_sign_may_also_be_part_of_the_value() -> None:
    assert read(b"pnl:5|g\npnl:-5|g", table=make_table(signed="value")) == {"pnl": -5.0}


def test_a_series_is_either_a_counter_or_a_gauge() -> None:
    assert read(b"a:1|c\na:5|g\na_count:1|g\nb:1|s\nb:2|c\nt_max:1|c\nt:1|ms\na:1|c") == {
        "a": 2.0,
        "a_count": 1.0,
        "b": 1.0,
        "t_max": 1.0,
    }


def test_sums_that_no_float_holds_are_refused() -> None:
    assert read(b"a:1e308|c\na:1e308|c\na:1|c") == {"a": 1e308}
    assert read(b"a:1e308|g\na:+1e308|g") == {"a": 1e308}
    assert read(b"a:1|c\na:1e30|c|@1e-300") == {"a": 1.0}


def test_names_without_end_are_refused_before_they_fill_the_memory() -> None:
    names = b"\n".join(b"a%d:1|c" % number for number in range(50))
    table = make_table(most=10)

    assert len(read(names, table=table)) == 10
    assert len(read(names, table=table)) == 10
    assert read(b"a3:1|c", table=table)["a3"] == 3.0, "what is known goes on"
    assert invalid(b"\n".join(b"s:%d|s" % number for number in range(100_010))) == 10


def test_long_members_of_a_set_fill_no_memory() -> None:
    table = StatsdTable({}, 300_000, 100, "delta")
    tracemalloc.start()
    try:
        for number in range(500):
            table.read_datagram(b"users:%d%s|s" % (number, b"x" * 60_000))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held < 2_000_000
    table.end_sets()
    assert {sample.name: sample.v for sample in table.take(NOW)[0]}["users"] == 500.0


def test_counters_go_on_and_gauges_are_as_old_as_they_are() -> None:
    table = make_table()
    read(b"orders:1|c\nequity:5|g\nt:9|ms", table=table)
    table.read_datagram(b"orders:1|c")
    samples, state = table.take(NOW + 10_000)

    times = {sample.name: sample.t for sample in samples}
    assert times["orders"] == times["t_count"] == NOW + 10_000
    assert times["equity"] <= NOW
    assert times["t_max"] <= NOW
    again = make_table(json.loads(json.dumps(state, allow_nan=False)))
    assert read(b"orders:1|c\nequity:+1|g", table=again, now=NOW + 20_000) == {
        "orders": 3.0,
        "equity": 6.0,
        "t_count": 1.0,
        "t_sum": 9.0,
        "t_max": 9.0,
    }
    assert read(b"orders:1|c", table=again, now=NOW + 100_000) == {"orders": 4.0, "t_count": 1.0, "t_sum": 9.0}


@pytest.mark.parametrize(
    ("before", "zero_at"), [(NOW - 3_600_000, NOW - 1_000), (NOW - 200, NOW - 200), (NOW + 9, NOW - 1)]
)
def test_a_counter_that_is_new_was_0_before_so_that_its_first_count_is_an_increase(before: int, zero_at: int) -> None:
    table = make_table()
    read(b"equity:1|g", table=table, now=before)
    table.read_datagram(b"errors:3|c")
    first = [sample for sample in table.take(NOW)[0] if sample.name == "errors"]
    samples, state = table.take(NOW + 1)
    again = make_table(json.loads(json.dumps(state, allow_nan=False)))

    assert first == [Sample("errors", (), zero_at, 0.0), Sample("errors", (), NOW, 3.0)]
    assert [sample.v for sample in samples if sample.name == "errors"] == [3.0]
    assert [sample.v for sample in again.take(NOW + 2)[0] if sample.name == "errors"] == [3.0]


_LINES = st.text(alphabet="ab1.:|@#,+-cgmshd_e{\n\r", max_size=40).map(str.encode) | st.binary(max_size=40)


@settings(max_examples=examples(500), deadline=None)
@given(st.lists(_LINES, max_size=6), st.sampled_from(["delta", "value"]))
def test_any_datagram_leaves_sound_series(datagrams: list[bytes], signed: str) -> None:
    table = make_table(most=20, signed=signed)
    for number, each in enumerate(datagrams):
        table.read_datagram(each)
        samples, state = table.take(NOW + number)
        assert all(map(_is_sound, samples))
        assert len({sample[:3] for sample in samples}) == len(samples)
        assert len({sample[:2] for sample in samples}) <= 20 + len(OWN_COUNTERS) + 3
        table = make_table(json.loads(json.dumps(state, allow_nan=False)), 20, signed)


# ─ over the wire ─

Open = Callable[..., StatsdReceiver]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def listen() -> str:
    return f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"


@pytest.fixture
def open_statsd(listen: str, heard: Heard) -> Iterator[Open]:
    opened: list[StatsdReceiver] = []

    def open_it(state: SourceState | None = None, **fields: Any) -> StatsdReceiver:
        source = StatsdSource.model_validate({"type": "statsd", "listen": listen, **fields})
        opened.append(source.receive("bot", state or {}, heard, lambda: NOW))
        return opened[-1]

    yield open_it
    for each in opened:
        if each._thread.is_alive():
            each.close()


def send(listen: str, *datagrams: bytes) -> None:
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if "[" in listen else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as bot:
        for each in datagrams:
            bot.sendto(each, (host.strip("[]"), int(port)))


def test_what_is_sent_is_delivered_at_once(listen: str, open_statsd: Open, heard: Heard) -> None:
    open_statsd(every="1h")
    send(listen, b"equity:5|g")

    heard.wait_until(lambda heard: heard.values.get("equity") == 5.0)
    assert heard.values["statsd_lines_total"] == 1.0
    assert heard.values["statsd_invalid_total"] == 0.0


def test_what_comes_close_together_is_delivered_together(listen: str, open_statsd: Open, heard: Heard) -> None:
    open_statsd()
    send(listen, *[b"orders:1|c"] * 2_000)

    heard.wait_until(lambda heard: heard.values["orders"] == 2_000.0)
    assert len(heard.made) < 100


def test_what_comes_without_end_is_delivered_in_between(
    listen: str, open_statsd: Open, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A datagram may hold ten thousand lines: five hundred of them took half a minute."""
    read = StatsdTable.read_datagram

    def read_slowly(table: StatsdTable, data: bytes) -> None:
        time.sleep(0.06)
        read(table, data)

    monkeypatch.setattr(StatsdTable, "read_datagram", read_slowly)
    open_statsd()
    send(listen, *[b"orders:1|c"] * 8)

    heard.wait_until(lambda heard: heard.values["orders"] == 8.0)
    assert len(heard.made) >= 4


def test_what_comes_for_long_faster_than_said_is_delivered_as_often_as_said(
    listen: str, open_statsd: Open, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.sources.delivery_limit._MAX_BURST", 2)
    receiver = open_statsd(every="1h")
    for number in (1, 2):
        send(listen, b"orders:1|c")
        heard.wait_until(lambda heard, number=number: heard.values["orders"] == number)  # type: ignore[misc]
    send(listen, b"orders:1|c")
    receiver.close()

    told = [{sample.name: sample.v for sample in made}["orders"] for made, _ in heard.made]
    assert told == [1.0, 2.0, 3.0], "the last is delivered at the end, and not before"


def test_sets_are_counted_over_an_interval(listen: str, open_statsd: Open, heard: Heard) -> None:
    open_statsd(every="200ms")
    send(listen, b"users:a|s\nusers:b|s", b"users:a|s")

    heard.wait_until(lambda heard: heard.values.get("users") == 2.0)
    send(listen, b"users:c|s")
    heard.wait_until(lambda heard: heard.values["users"] == 1.0)


def test_garbage_is_counted_and_breaks_nothing(listen: str, open_statsd: Open, heard: Heard) -> None:
    open_statsd()
    send(listen, b"", b"\xff\xfe", b"a" * 60_000, os.urandom(1_000).replace(b"\n", b""), b"equity:5|g")

    heard.wait_until(lambda heard: heard.values.get("equity") == 5.0)
    assert heard.values["statsd_invalid_total"] == 3.0


def test_closing_waits_for_nothing_and_loses_nothing_and_another_takes_its_place(
    listen: str, open_statsd: Open, heard: Heard
) -> None:
    first = open_statsd()
    send(listen, *[b"orders:1|c"] * 100)
    first.close()
    assert heard.values["orders"] == 100.0
    assert not any(thread.name == "statsd bot" for thread in threading.enumerate())
    open_statsd(json.loads(json.dumps(heard.state)))

    send(listen, b"orders:1|c")

    heard.wait_until(lambda heard: heard.values["orders"] == 101.0)


def test_one_that_hears_nothing_sleeps_and_is_closed_at_once(open_statsd: Open, heard: Heard) -> None:
    open_statsd().close()

    assert heard.made == []


def test_a_port_that_is_taken_is_said_with_its_cure(open_statsd: Open) -> None:
    open_statsd()
    with pytest.raises(SourceError, match="cannot be listened on: Address already in use — end what listens there"):
        open_statsd()


def test_a_delivery_that_breaks_is_logged_and_the_next_one_is_made(
    listen: str, open_statsd: Open, heard: Heard, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = open_statsd()
    broken = threading.Event()

    def break_once(*_: object) -> int:
        receiver._deliver = heard
        broken.set()
        raise ZeroDivisionError

    monkeypatch.setattr(receiver, "_deliver", break_once)
    send(listen, b"orders:1|c")
    assert broken.wait(30)
    send(listen, b"orders:1|c")

    heard.wait_until(lambda heard: heard.values["orders"] == 2.0)
    assert "source bot" in caplog.text


def test_of_strangers_nothing_is_taken(listen: str, open_statsd: Open, heard: Heard) -> None:
    receiver = open_statsd(allow=["10.0.0.0/24", "fd00::/8"])

    allowed = ["127.0.0.1", "127.9.9.9", "10.0.0.5", "::ffff:10.0.0.5", "::1", "fd00::1"]
    refused = ["10.0.1.5", "192.168.0.1", "::ffff:192.168.0.1", "fe80::1%eth0"]
    assert all(map(receiver._is_allowed, allowed))
    assert not any(map(receiver._is_allowed, refused))
    receiver._is_allowed = lambda _: False  # type: ignore[assignment]  # as if it came from elsewhere
    send(listen, b"equity:5|g")
    receiver.close()
    assert heard.made == [], "a stranger is no sign of life"
    assert receiver._table.take(NOW)[1]["own"]["statsd_refused_total"] == 1


def test_ipv6_is_heard(heard: Heard) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    listen = f"[::1]:{free_port(socket.SOCK_DGRAM)}"
    try:
        receiver = StatsdSource(type="statsd", listen=listen).receive("bot", {}, heard, lambda: NOW)
    except SourceError:
        pytest.skip("this machine has no IPv6")
    send(listen, b"equity:5|g")
    heard.wait_until(lambda heard: heard.values["equity"] == 5.0)
    receiver.close()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"listen": "0.0.0.0:8125"}, "say allow"),
        ({"listen": "10.0.0.1:8125"}, "say allow"),
        ({"listen": "[::]:8125"}, "say allow"),
        ({"listen": "localhost:8125"}, "an address and not a name"),
        ({"listen": "127.0.0.1"}, "listen reads like"),
        ({"listen": "127.0.0.1:0"}, "listen reads like"),
        ({"listen": "127.0.0.1:70000"}, "listen reads like"),
        ({"listen": "300.0.0.1:1"}, "listen reads like"),
        ({"allow": ["10.0.0.5/8"]}, "no address and no network"),
        ({"allow": ["bot.example.org"]}, "no address and no network"),
    ],
)
def test_who_may_send_is_said_where_it_is_more_than_this_machine(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        StatsdSource.model_validate({"type": "statsd", **fields})


def test_it_is_down_after_a_minute_of_silence() -> None:
    assert StatsdSource(type="statsd").deadline == 60_000
    assert StatsdSource(type="statsd", every=60_000).deadline == 180_000
    assert StatsdSource(type="statsd", timeout=5_000).deadline == 5_000
    assert (
        StatsdSource.model_validate({"type": "statsd", "listen": "0.0.0.0:8125", "allow": ["10.0.0.5"]}).port == 8_125
    )
