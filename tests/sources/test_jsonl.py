"""JSON lines of a bot: counted, added up, and the newest of them taken."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tests.support.property_settings import examples
from watchdog.core.errors import SourceError
from watchdog.core.model import Labels, Millis, Sample
from watchdog.core.protocols import ExplainedSource, Match
from watchdog.sources import AnySource, JsonlSource
from watchdog.sources.series_limits import SeriesLimiter
from watchdog.tsdb.head import Head
from watchdog.worker import functions

NOW = 1_700_000_000_000
ADAPTER: TypeAdapter[Any] = TypeAdapter(AnySource)


class Bot:
    """Writes lines, and is looked at once a second by a source that remembers nothing but its state."""

    def __init__(self, folder: Path, values: dict[str, Any], **fields: Any) -> None:
        self.path = folder / "events.jsonl"
        self.source: JsonlSource = ADAPTER.validate_python(
            {"type": "jsonl", "files": str(folder / "events*"), "values": values, **fields}
        )
        self.state, self.cache, self.now = "{}", dict[str, Any](), NOW

    def write(self, *lines: Any) -> None:
        with self.path.open("a") as file:
            for line in lines:
                file.write((line if isinstance(line, str) else json.dumps(line)) + "\n")

    def look(self, after: Millis = 1_000) -> list[Sample]:
        self.now += after
        state = json.loads(self.state)
        samples = self.source.read(state, self.cache, self.now)
        self.state = json.dumps(state, allow_nan=False)
        return samples

    def values(self, after: Millis = 1_000) -> dict[tuple[str, Labels] | str, float]:
        """The newest of each series, without our own."""
        newest = {(each.name, each.labels): each.v for each in self.look(after) if not each.name.startswith("jsonl_")}
        return {name if not labels else (name, labels): value for (name, labels), value in newest.items()}

    def restart(self) -> None:
        self.cache = {}


def own(samples: list[Sample]) -> dict[str, float]:
    return {each.name.removeprefix("jsonl_"): each.v for each in samples if each.name.startswith("jsonl_")}


def points(samples: list[Sample], name: str, labels: Labels = ()) -> list[tuple[Millis, float]]:
    return [(each.t - NOW, each.v) for each in samples if (each.name, each.labels) == (name, labels)]


TRADES = {"trades_total": {"count": "type == 'trade'"}}
EVERYTHING = {
    **TRADES,
    "losses_total": {"count": "type == 'trade' && pnl < `0`", "labels": {"symbol": "symbol"}},
    "volume_total": {"sum": "qty", "where": "type == 'trade'"},
    "equity": {"last": "equity"},
    "regime": {
        "last": "regime",
        "where": "type == 'bar'",
        "labels": {"symbol": "symbol"},
        "map": {"bull": 1, "bear": 0},
    },
}


def trade(symbol: str = "BTC", pnl: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"type": "trade", "symbol": symbol, "pnl": pnl, "qty": 0.5, **more}


def test_lines_are_counted_added_up_and_the_newest_is_taken(tmp_path: Path) -> None:
    bot = Bot(tmp_path, EVERYTHING)
    bot.write(trade(equity=100))
    bot.look()
    bot.write(trade(pnl=-1), trade("ETH", pnl=-2), trade("ETH", pnl=-3, equity="101.5"), {"type": "x", "qty": 9})
    bot.write({"type": "bar", "regime": "bear", "symbol": "BTC"}, {"type": "bar", "regime": "odd", "symbol": "ETH"})

    assert bot.values() == {
        "trades_total": 3.0,
        ("losses_total", (("symbol", "BTC"),)): 1.0,
        ("losses_total", (("symbol", "ETH"),)): 2.0,
        "volume_total": 1.5,
        "equity": 101.5,
        ("regime", (("symbol", "BTC"),)): 0.0,
    }


def test_nothing_that_was_there_before_is_counted_and_the_last_values_are_what_they_are(tmp_path: Path) -> None:
    bot = Bot(tmp_path, EVERYTHING, time="ts")
    bot.write(trade(ts=NOW / 1_000 - 60, equity=7), trade(pnl=-1, ts=NOW / 1_000 - 50))

    samples = bot.look()

    assert points(samples, "trades_total") == [(1_000, 0.0)]
    assert points(samples, "equity") == [(-60_000, 7.0)]
    assert own(samples) == {
        "lines_total": 0,
        "invalid_lines_total": 0,
        "lag_bytes": 0,
        "last_event_timestamp_seconds": NOW / 1_000 - 50,
    }


def test_a_counter_is_said_at_each_read_and_a_last_value_keeps_its_time(tmp_path: Path) -> None:
    bot = Bot(tmp_path, EVERYTHING, time="ts")
    bot.write(trade())
    bot.look()
    bot.write(trade(ts=NOW / 1_000 + 1.5, equity=5))

    for second in (2_000, 3_000):
        samples = bot.look()
        assert points(samples, "trades_total") == [(second, 1.0)]
        assert points(samples, "equity") == [(1_500, 5.0)]


def test_the_counters_go_on_over_rotation_and_restart(tmp_path: Path) -> None:
    bot = Bot(tmp_path, TRADES)
    bot.write(trade())
    bot.look()
    bot.write(trade(), trade())
    bot.path.rename(tmp_path / "events.jsonl.1")
    bot.write(trade())
    assert bot.values() == {"trades_total": 3.0}
    bot.restart()
    bot.write(trade())

    assert bot.values() == {"trades_total": 4.0}


def test_a_read_that_was_not_kept_is_made_again_from_the_same_place(tmp_path: Path) -> None:
    bot = Bot(tmp_path, EVERYTHING)
    bot.write(trade())
    bot.look()
    kept = bot.state
    bot.write(trade(pnl=-1), trade())
    lost = bot.look()
    bot.path.rename(tmp_path / "events.jsonl.1")
    bot.write(trade(pnl=-1))
    bot.state, bot.cache = kept, {}  # killed ahead of the writing

    again = bot.values()

    assert points(lost, "trades_total") == [(2_000, 2.0)]
    assert again["trades_total"] == 3.0
    assert again["losses_total", (("symbol", "BTC"),)] == 2.0


def test_what_is_no_object_is_counted_as_such(tmp_path: Path) -> None:
    bot = Bot(tmp_path, TRADES)
    bot.write(trade())
    bot.look()
    bot.write("", "  ", "[1]", "5", "half {", '{"a": 1} {"b": 2}', "[" * 100_000, "1" * 10_000, '{"a": "\\ud800"}')
    with bot.path.open("ab") as file:
        file.write(b"\xff\xfe\n" + b"\xef\xbb\xbf" + b'{"type": "trade"}\r\n' + b"x" * (3 << 20) + b"\n")

    samples = bot.look()

    assert own(samples)["lines_total"] == 10
    assert own(samples)["invalid_lines_total"] == 8
    assert points(samples, "trades_total") == [(2_000, 1.0)]


def test_a_new_set_of_labels_was_zero_at_the_read_before(tmp_path: Path) -> None:
    bot = Bot(tmp_path, EVERYTHING)
    bot.write(trade())
    bot.look()
    bot.write(trade(pnl=-1))

    assert points(bot.look(), "losses_total", (("symbol", "BTC"),)) == [(1_000, 0.0), (2_000, 1.0)]
    assert points(bot.look(), "losses_total", (("symbol", "BTC"),)) == [(3_000, 1.0)]


def test_what_happened_while_nobody_looked_is_said_at_its_time(tmp_path: Path) -> None:
    bot = Bot(tmp_path, TRADES, time="ts")
    bot.write(trade())
    bot.look()
    start = bot.now
    for minute in range(60):
        bot.write(trade(ts=(start + minute * 60_000 + 1_000) / 1_000))
    bot.restart()

    samples = bot.look(after=2 * 3_600_000)

    found = points(samples, "trades_total")
    assert found[-1] == (bot.now - NOW, 60.0)
    assert [t for t, _ in found] == sorted({t for t, _ in found})
    assert len(found) > 30
    for t, value in found:
        happened = min(max((t + NOW - start - 1_000) // 60_000 + 1, 0), 60)
        assert abs(value - happened) <= 2


def test_the_store_takes_several_samples_of_a_counter_from_one_read(tmp_path: Path) -> None:
    bot = Bot(tmp_path, {**EVERYTHING}, time="ts")
    bot.write(trade())
    head, limiter = Head({"": 86_400_000}), SeriesLimiter.of(bot.source, lambda _: 86_400_000)

    def keep(samples: list[Sample]) -> None:
        kept, cut = limiter.admit(samples, bot.now)
        assert cut is None
        head.ingest("bot", bot.now, kept)

    keep(bot.look())
    for minute in range(50):
        bot.write(trade(f"S{minute % 5}", -1, ts=(bot.now + minute * 60_000) / 1_000))
    keep(samples := bot.look(after=3_600_000))
    keep(bot.look())

    for name, labels in {(each.name, each.labels) for each in samples if each.name.endswith("es_total")}:
        key = head.series_key(name, labels, "bot")
        page = next(page for page in head.pages if key in page.keys)
        held = page.v[page.keys.index(key)]
        t = page.t[~(held != held)].tolist()
        assert set(t) >= {each.t for each in samples if (each.name, each.labels) == (name, labels)}


def test_while_it_lags_the_counters_are_as_old_as_what_was_read(tmp_path: Path) -> None:
    bot = Bot(tmp_path, TRADES, time="ts", max_bytes=2**21)
    bot.write(trade())
    bot.look()
    pad = "x" * 1_000
    bot.write(*(trade(ts=(bot.now + number) / 1_000, pad=pad) for number in range(5_000)))

    first = bot.look(after=10_000)

    lag = own(first)["lag_bytes"]
    assert 0 < lag < bot.path.stat().st_size
    (*_, (t, value)) = points(first, "trades_total")
    assert t == 1_000 + value - 1
    for _ in range(3):
        last = bot.look()
    assert own(last)["lag_bytes"] == 0
    assert points(last, "trades_total")[-1] == (bot.now - NOW, 5_000.0)


def test_a_clock_that_is_set_back_stops_nothing(tmp_path: Path) -> None:
    bot = Bot(tmp_path, EVERYTHING, time="ts")
    bot.write(trade(ts=NOW / 1_000, equity=1))
    bot.look()
    bot.now -= 3_600_000
    bot.write(trade(ts=bot.now / 1_000, equity=2))

    samples = bot.look()

    assert points(samples, "trades_total")[-1] == (bot.now - NOW, 1.0)
    assert points(samples, "equity") == [(bot.now - NOW - 1_000, 2.0)]
    assert all(each.t <= bot.now for each in samples)


def test_of_two_last_values_the_older_one_is_passed_over_and_one_of_the_same_moment_is_not(tmp_path: Path) -> None:
    bot = Bot(tmp_path, {"equity": {"last": "equity"}}, time="ts")
    bot.write({"ts": 1_700_000_000, "equity": 1})
    assert points(bot.look(), "equity") == [(0, 1.0)]
    bot.write({"ts": 1_700_000_000, "equity": 2})
    assert points(bot.look(), "equity") == [(1, 2.0)]
    bot.write({"ts": 1_699_999_999, "equity": 3})
    assert points(bot.look(), "equity") == [(1, 2.0)]
    bot.write({"equity": 4})
    assert points(bot.look(), "equity") == [(4_000, 4.0)]


def test_values_that_are_none_change_nothing(tmp_path: Path) -> None:
    values = {"volume_total": {"sum": "qty"}, "equity": {"last": "sum(positions)"}, "odd_total": {"count": "a < b"}}
    bot = Bot(tmp_path, values)
    bot.write({"qty": 1, "positions": [1, 2]})
    assert bot.values() == {"volume_total": 0.0, "odd_total": 0.0, "equity": 3.0}
    bot.write({"qty": None}, {"qty": "much"}, '{"qty": NaN}', '{"qty": 1e999}', {"qty": [1]}, {"positions": ["x"]})
    bot.write({"qty": 1e308}, {"qty": 1e308}, {"a": "1", "b": 2})

    assert bot.values() == {"volume_total": 1e308, "odd_total": 0.0, "equity": 3.0}


def test_more_sets_of_labels_than_may_be_are_left_out_and_told(tmp_path: Path) -> None:
    bot = Bot(tmp_path, {"orders_total": {"count": "id", "labels": {"id": "id"}}}, max_series=50)
    bot.write("{}")
    limiter = SeriesLimiter.of(bot.source, lambda _: 0)
    assert limiter.admit(bot.look(), bot.now)[1] is None
    bot.write(*({"id": f"id{number}"} for number in range(1_000)))

    _, cut = limiter.admit(bot.look(), bot.now)

    assert cut is not None
    assert "max_series" in cut.text
    assert len(bot.state) < 10_000
    bot.write({"id": "id0"}, {"id": "new"})
    values = bot.values()
    assert values["orders_total", (("id", "id0"),)] == 2.0
    assert ("orders_total", (("id", "new"),)) not in values
    bot.write({"id": "new"})
    bot.look(after=86_400_000 + 5_000)
    bot.write({"id": "new"})
    assert bot.values()["orders_total", (("id", "new"),)] >= 1.0


def test_labels_are_texts_that_can_be_written_and_are_not_endless(tmp_path: Path) -> None:
    bot = Bot(tmp_path, {"n_total": {"count": "to_string(id)", "labels": {"id": "id", "of": "of.name"}}})
    bot.write("{}")
    bot.look()
    bot.write({"id": 5}, {"id": 5.5, "of": {"name": True}}, {"id": ["x"]}, '{"id": "\\ud800"}', '{"id": "?"}')
    bot.write({"id": "x" * 900_000}, {"id": "x" * 900_001, "of": {"name": "y" * 9_000}})

    values = bot.values()

    assert values["n_total", (("id", "5"),)] == 1.0
    assert values["n_total", (("id", "5.5"), ("of", "true"))] == 1.0
    assert values["n_total"] == 1.0
    assert values["n_total", (("id", "?"),)] == 2.0
    assert len(bot.state) < 20_000


@pytest.mark.parametrize(("before", "after"), [("count", "last"), ("last", "count"), ("count", "sum"), ("last", "sum")])
def test_a_metric_that_becomes_another_kind_begins_anew(tmp_path: Path, before: str, after: str) -> None:
    bot = Bot(tmp_path, {"x": {before: "n"}, "trades_total": {"count": "n"}})
    bot.write("{}")
    bot.look()
    bot.write({"n": 7}, {"n": 9})
    bot.look()

    changed = Bot(tmp_path, {"x": {after: "n"}, "trades_total": {"count": "n"}})
    changed.state, changed.now = bot.state, bot.now
    values = changed.values()
    assert values.get("x") == (None if after == "last" else 0.0)
    assert values["trades_total"] == 2.0
    changed.write({"n": 5})
    assert changed.values()["x"] == {"count": 1.0, "sum": 5.0, "last": 5.0}[after]


@pytest.mark.parametrize(("known", "new"), [(0, 300), (0, 4_000), (900, 700), (20, 5)])
def test_of_what_was_slept_through_nothing_is_cut_however_many_series_came_in_it(
    tmp_path: Path, known: int, new: int
) -> None:
    """Each brings counters at many times and a last value of its own: what would be cut is what is newest."""
    labels = {"labels": {"id": "id"}}
    bot = Bot(
        tmp_path,
        {"n_total": {"count": "id", **labels}, "p": {"last": "p", **labels}},
        time="ts",
        max_series=20_000,
        every="10s",
    )
    limiter = SeriesLimiter.of(bot.source, lambda _: 0)
    bot.write("{}")
    bot.look()
    bot.write(*({"id": f"K{n}", "ts": bot.now / 1_000, "p": n} for n in range(known)))
    limiter.admit(bot.look(), bot.now)
    start = bot.now
    bot.write(*({"id": f"N{n}", "ts": start / 1_000 + n * 3_600 / new, "p": n} for n in range(new)))

    samples = bot.look(after=3_600_000)

    assert limiter.admit(samples, bot.now)[1] is None
    counts = [each for each in samples if each.name == "n_total"]
    assert sum(each.v for each in counts if each.t == bot.now) == known + new
    assert len({each.t for each in counts}) >= 5, "and it is no single step"


def test_many_series_with_times_of_their_own_are_within_what_the_store_takes(tmp_path: Path) -> None:
    values = {"price": {"last": "price", "labels": {"symbol": "symbol"}}}
    bot = Bot(tmp_path, values, time="ts", max_series=20_000)
    bot.write("{}")
    limiter = SeriesLimiter.of(bot.source, lambda _: 0)
    stamped: dict[Labels, Millis] = {}
    for _ in range(3):
        start = bot.now
        bot.write(*({"ts": (start + n % 1_000) / 1_000, "symbol": f"S{n}", "price": n} for n in range(0, 12_000, 7)))
        samples = [each for each in bot.look() if each.name == "price"]
        _, cut = limiter.admit(samples, bot.now)
        assert cut is None
        assert len({each.t for each in samples}) > 64
        for each in samples:
            assert start <= each.t <= bot.now
            assert each.t > stamped.get(each.labels, 0)
            stamped[each.labels] = each.t
    bot.write({"ts": bot.now / 1_000, "symbol": "S0", "price": 5})
    for each in bot.look():
        if each.name == "price" and dict(each.labels)["symbol"] != "S0":
            assert each.t <= stamped[each.labels], "what did not come again is no newer"


def test_an_edited_entry_keeps_what_stays_as_it_is(tmp_path: Path) -> None:
    bot = Bot(tmp_path, EVERYTHING)
    bot.write(trade())
    bot.look()
    bot.write(trade(pnl=-1))
    bot.look()
    edited = {**TRADES, "losses_total": {"count": "pnl < `0`"}, "bars_total": {"count": "type == 'bar'"}}
    bot.source = ADAPTER.validate_python({"type": "jsonl", "files": bot.source.files, "values": edited})
    bot.write(trade(pnl=-1))

    assert bot.values() == {"trades_total": 2.0, "losses_total": 1.0, "bars_total": 0.0}


def test_a_state_that_is_none_begins_anew(tmp_path: Path) -> None:
    bot = Bot(tmp_path, TRADES)
    bot.write(trade())
    bot.state = '{"at": "x", "tail": 5}'

    assert bot.values() == {"trades_total": 0.0}


def test_times_that_name_no_zone_are_of_the_one_that_is_said(tmp_path: Path) -> None:
    bot = Bot(tmp_path, {"equity": {"last": "equity"}}, time="at", zone="America/New_York")
    bot.write({"at": "2023-11-14 17:13:20", "equity": 1})

    assert points(bot.look(), "equity") == [(0, 1.0)]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"values": {}}, "at least 1"),
        ({"values": {"a": {}}}, "exactly one of count, sum and last"),
        ({"values": {"a": {"count": "a", "sum": "b"}}}, "exactly one of count, sum and last"),
        ({"values": {"a": {"count": "a", "where": "b"}}}, "join the two by &&"),
        ({"values": {"a": {"sum": "a", "map": {"x": 1}}}}, "map goes with last"),
        ({"values": {"a": {"last": "a", "map": {"x": math.inf}}}}, "finite"),
        ({"values": {"a": {"count": "a["}}}, "no JMESPath"),
        ({"values": {"a-b": {"count": "a"}}}, "no metric name"),
        ({"values": {"jsonl_x": {"count": "a"}}}, "what the watchdog says of the lines — "),
        ({"values": {"a": {"count": "a", "labels": {"source": "b"}}}}, "the watchdog's own — "),
        ({"values": {"a": {"count": "a", "labels": {f"l{n}": "b" for n in range(33)}}}}, "at most 32 labels"),
        ({"files": "/var/log/*/x"}, "wildcards may stand in the file's name only — "),
        ({"files": "/var/log/"}, "that is a folder — "),
        ({"zone": "Nowhere"}, "no time zone"),
        ({"max_series": 30_000}, "20000"),
    ],
)
def test_an_entry_that_means_nothing_is_refused(fields: dict[str, Any], error: str) -> None:
    with pytest.raises(ValidationError, match=error):
        ADAPTER.validate_python({"type": "jsonl", "files": "/x/y", "values": TRADES, **fields})


@pytest.mark.parametrize("files", ["no/events.jsonl", "events.jsonl", "*.jsonl"])
def test_files_that_are_not_there_are_named_with_a_cure(files: str, tmp_path: Path) -> None:
    source = ADAPTER.validate_python({"type": "jsonl", "files": str(tmp_path / files), "values": TRADES})

    acts: list[Callable[[], object]] = [lambda: source.read({}, {}, NOW), lambda: source.explain(NOW)]
    for act in acts:
        with pytest.raises(SourceError, match=f"{'folder' if files[0] == 'n' else 'no file'}.* — is the path"):
            act()


def test_what_is_asked_of_the_owner_travels_as_json(tmp_path: Path) -> None:
    bot = Bot(tmp_path, EVERYTHING, time="ts")
    bot.write(trade(equity=1))
    asked = []

    def by_a_worker(_: Path, __: object, function: Any, *args: Any) -> Any:
        question = json.loads(json.dumps(functions.encode(function, args, None)))
        read = functions.read_question(question)
        assert read.needed_files is not None
        assert read.needed_files.paths[0].parent == tmp_path
        asked.append(question["function"].rpartition(".")[2])
        return functions.decode(function, json.loads(json.dumps(functions.answer(read))))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("watchdog.sources.owner_files.call_owner", by_a_worker)
        bot.look()
        bot.write(trade(pnl=-1))
        found = bot.values()
        matches = bot.source.explain(NOW)

    assert found["trades_total"] == 1.0
    assert isinstance(matches[0], Match)
    assert asked == ["read_jsonl", "read_jsonl", "explain_jsonl"]


# ─ what an expression matched ─


def explain(bot: Bot) -> dict[str, Match]:
    assert isinstance(bot.source, ExplainedSource)
    return {match.key: match for match in bot.source.explain(NOW)}


def test_each_expression_shows_the_newest_that_it_matched(tmp_path: Path) -> None:
    bot = Bot(tmp_path, EVERYTHING, time="ts")
    bot.write(trade(pnl=-1, ts=1), trade("ETH", equity=7, ts="never"), "no json", {"type": "bar", "regime": "odd"})

    found = explain(bot)

    assert found["values.trades_total.count"].found[0].startswith('{"type": "trade", "symbol": "ETH"')
    assert len(found["values.trades_total.count"].found) == 2
    assert found["values.equity.last"].found == ("7",)
    assert found["values.volume_total.sum"].found == ("0.5",)
    assert found["values.losses_total.labels.symbol"].found == ('"BTC"',)
    assert found["values.regime.last"] == Match("values.regime.last", "regime", ('"odd"',), (), "not in map")
    assert found["time"].found == ('"never"', "1")


def test_what_matched_nothing_has_what_comes_nearest(tmp_path: Path) -> None:
    values = {
        "wins_total": {"count": "type == 'trade' && pnl > `5` && symbol == 'ETH'"},
        "equity": {"last": "acount.equity"},
        "symbol": {"last": "symbol"},
    }
    bot = Bot(tmp_path, values, time="tz")
    bot.write(trade("ETH", 6, type="x"), {"account": {"equity": 5}, "ts": 1}, trade("BTC", 1))

    found = explain(bot)

    assert found["values.wins_total.count"].found == ()
    assert found["values.wins_total.count"].nearest[0].startswith('{"type": "x", "symbol": "ETH"')
    assert found["values.equity.last"].nearest[0] == "account.equity"
    assert found["values.symbol.last"].why == "no number"
    assert "ts" in found["time"].nearest


def test_without_a_line_it_says_so(tmp_path: Path) -> None:
    bot = Bot(tmp_path, EVERYTHING)
    bot.path.touch()

    assert {match.why for match in explain(bot).values()} == {"no line is there yet"}


# ─ whatever may come ─

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.dictionaries(st.sampled_from(["type", "pnl", "symbol", "equity", "ts", "regime"]), inner)
        | st.lists(inner, max_size=2)
    ),
)


@given(st.lists(st.binary(max_size=20) | JSON.map(lambda value: json.dumps(value).encode()), max_size=8))
@settings(max_examples=examples(200), deadline=None)
def test_whatever_stands_in_the_lines_the_samples_are_sound(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    bot = Bot(tmp_path_factory.mktemp("bot"), EVERYTHING, time="ts")
    bot.path.touch()
    bot.look()
    bot.path.write_bytes(b"\n".join([*lines, b""]))

    samples = bot.look(after=60_000)

    kept, cut = SeriesLimiter.of(bot.source, lambda _: 0).admit(samples, bot.now)
    assert len(kept) == len(samples)
    assert cut is None
    assert all(math.isfinite(each.v) and each.t <= bot.now for each in samples)
    assert len({each[:3] for each in samples}) == len(samples)


def test_fifty_thousand_lines_take_less_than_the_second_in_which_they_are_written(tmp_path: Path) -> None:
    bot = Bot(tmp_path, EVERYTHING, time="ts")
    bot.path.touch()
    bot.look()
    line = json.dumps(trade(pnl=-1, ts=NOW / 1_000, equity=10_234.5, side="buy", price=91_234.5, id=123_456_789))
    bot.path.write_text(f"{line}\n" * 50_000)
    start = time.process_time()

    samples = bot.look()

    assert time.process_time() - start < 1
    lag = own(samples)["lag_bytes"]
    while lag:  # on a machine that does much else besides
        lag = own(samples := bot.look())["lag_bytes"]
    assert points(samples, "trades_total")[-1][1] == 50_000
    assert bot.path.stat().st_size > 5_000_000
