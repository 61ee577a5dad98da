"""Numbers as people write and read them."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.core.units import (
    UNITS,
    Unit,
    format_apart,
    format_duration,
    format_durations_apart,
    format_value,
    json_number,
    parse_duration,
    parse_limit,
    parse_quantity,
    with_json_numbers,
)

ANY = settings(max_examples=30, deadline=None)

# ─ durations ─


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("250ms", 250),
        ("30s", 30_000),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("7d", 604_800_000),
        ("2w", 1_209_600_000),
        ("1.5h", 5_400_000),
        ("1h 30m", 5_400_000),
        (" 5m ", 300_000),
        ("0s", 0),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, millis: int) -> None:
    assert parse_duration(text) == millis


@pytest.mark.parametrize("text", ["", "5", "300", "5.5", 5.5, "5 minutes", "-5m", "5m!", "m", True, None, [], "1e3s"])
def test_what_has_no_unit_or_is_no_duration_is_refused_with_examples(text: object) -> None:
    with pytest.raises(ValueError, match="reads like 30s, 5m, 1h30m or 7d"):
        parse_duration(text)


def test_whole_milliseconds_of_our_own_pass_through() -> None:
    assert parse_duration(120_000) == 120_000


@pytest.mark.parametrize(
    ("millis", "text"),
    [
        (200_000, "3 m 20 s"),
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (59_600, "1 m"),
        (3_600_000, "1 h"),
        (90_061_000, "1 d 1 h"),
        (86_405_000, "1 d 5 s"),
        (-90_000, "-1 m 30 s"),
        (math.inf, "infinite"),
        (math.nan, "no number (0/0)"),
    ],
)
def test_a_duration_is_shown_in_its_two_largest_units(millis: float, text: str) -> None:
    assert format_duration(millis) == text


@ANY
@given(
    st.lists(st.tuples(st.integers(0, 999), st.sampled_from(["ms", "s", "m", "h", "d", "w"])), min_size=1, max_size=5)
)
def test_the_parts_of_a_duration_add_up(parts: list[tuple[int, str]]) -> None:
    whole = parse_duration("".join(f"{number}{unit}" for number, unit in parts))

    assert whole == sum(parse_duration(f"{number}{unit}") for number, unit in parts)


# ─ values ─


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.152, "ratio", "15.2 %"),
        (0.1, "ratio", "10 %"),
        (15.2, "percent", "15.2 %"),
        (0.0, "ratio", "0 %"),
        (1.5 * 2**30, "bytes", "1.5 GiB"),
        (2.0**20, "bytes", "1 MiB"),
        (12, "bytes", "12 B"),
        (-(2.0**21), "bytes", "-2 MiB"),
        (200, "seconds", "3 m 20 s"),
        (0.02, "seconds", "20 ms"),
        (1234.5, "currency", "1,234.50"),
        (-3.0, "currency", "-3.00"),
        (5, "count", "5"),
        (0.00123, "count", "0.00123"),
        (12.3456, "count", "12.3"),
        (1_234_567, "count", "1,234,567"),
        (1e-12, "count", "1e-12"),
        (1_234.5, "USD", "1,234.50 USD"),
        (0.00042, "BTC", "0.00042 BTC"),
        (-0.5, "USDT", "-0.50 USDT"),
        (1.6, "seconds", "1.6 s"),
        (0.0123, "seconds", "12.3 ms"),
        (0.00015, "seconds", "150 µs"),
        (0, "seconds", "0 s"),
        (1e20, "count", "1e+20"),
        (None, "ratio", "no value"),
        (math.nan, "bytes", "no number (0/0)"),
        (-math.inf, "currency", "minus infinite"),
    ],
)
def test_a_value_is_shown_as_people_read_it(value: float | None, unit: Unit, text: str) -> None:
    assert format_value(value, unit) == text


@ANY
@given(st.floats(1e-6, 1e14))
def test_three_figures_of_a_number_are_kept(value: float) -> None:
    assert float(format_value(value, "count").replace(",", "")) == pytest.approx(value, rel=6e-3)


_SIZES: dict[str, int | str] = {
    "%": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
    "µs": "1e-6", "ms": "1e-3", "s": 1, "m": 60, "h": 3_600, "d": 86_400, "USD": 1,
}  # fmt: skip


def read_back(text: str) -> Fraction:
    """A value as it was shown, to its last digit."""
    words = text.removeprefix("-").replace(",", "").split()
    pairs = [(words[i], words[i + 1] if i + 1 < len(words) else "%") for i in range(0, len(words), 2)]
    amount = sum((Fraction(number) * Fraction(_SIZES[unit]) for number, unit in pairs), Fraction())
    return -amount if text.startswith("-") else amount


@settings(max_examples=300, deadline=None)
@given(
    st.floats(1e-3, 1e12),
    st.sampled_from([1.0, 0.999, 0.9999, 1.004, 1 + 1e-6, 1 - 1e-9, 1 + 2**-52, 2.0]),
    st.sampled_from(["ratio", "percent", "seconds", "bytes", "count", "currency", "USD"]),
    st.sampled_from([1, -1]),
)
def test_what_is_said_of_two_values_can_be_seen_to_be_true(limit: float, factor: float, unit: Unit, sign: int) -> None:
    limit *= sign
    value = limit * factor

    value_text, limit_text = format_apart([value, limit], unit)

    assert (value_text == limit_text) == (value == limit)
    assert (read_back(value_text) > read_back(limit_text)) == (value > limit)


@pytest.mark.parametrize(
    ("values", "unit", "texts"),
    [
        ([10.04, 10], "seconds", ["10.04 s", "10 s"]),
        ([12.3, 10], "seconds", ["12.3 s", "10 s"]),
        ([59.999, 60], "seconds", ["59.999 s", "1 m"]),
        ([200.25, 200], "seconds", ["3 m 20.2 s", "3 m 20 s"]),
        ([0.15004, 0.15], "ratio", ["15.004 %", "15 %"]),
        ([1023.9 * 2**20, 2**30], "bytes", ["0.9999 GiB", "1 GiB"]),
        ([512.4, 512], "bytes", ["512.4 B", "512 B"]),
        ([250.001, 250], "USD", ["250.001 USD", "250.000 USD"]),
        ([5, 5.0], "count", ["5", "5"]),
        ([None, 5], "count", ["no value", "5"]),
        ([math.nan, math.nan], "count", ["no number (0/0)", "no number (0/0)"]),
    ],
)
def test_values_that_differ_look_different(values: list[float | None], unit: Unit, texts: list[str]) -> None:
    assert format_apart(values, unit) == texts


def test_durations_that_differ_look_different() -> None:
    assert format_durations_apart(10_040, 10_000) == ["10.04 s", "10 s"]
    assert format_durations_apart(31_000, 30_000) == ["31 s", "30 s"]
    assert format_durations_apart(10_799_950, 10_800_000) == ["2 h 59 m 59.95 s", "3 h"]


# ─ quantities ─


@pytest.mark.parametrize(
    ("text", "unit", "raw"),
    [
        ("10%", "ratio", 0.1),
        ("10 %", "percent", 10),
        ("-2.5%", "ratio", -0.025),
        ("512MiB", "bytes", 512 * 2**20),
        ("1kB", "bytes", 1000),
        ("1KB", "bytes", 1000),
        ("30s", "seconds", 30),
        ("5m", "seconds", 300),
        ("250ms", "seconds", 0.25),
        ("1h30m", "seconds", 5400),
        (5, "count", 5),
        ("1e3", "count", 1000),
        ("-250.00", "currency", -250),
    ],
)
def test_a_quantity_is_read_in_its_kpis_unit(text: object, unit: Unit, raw: float) -> None:
    assert parse_quantity(text, unit) == pytest.approx(raw)


@pytest.mark.parametrize(
    ("text", "unit", "cure"),
    [
        (0.15, "ratio", "say 15%"),
        (5, "ratio", "say 5%"),
        (15, "percent", "say 15%"),
        ("10%", "count", "plain number such as 5"),
        ("5 apples", "count", "plain number such as 5"),
        ("many", "count", "plain number such as 5"),
        ("10", "bytes", "size such as 512MiB"),
        ("30s", "bytes", "size such as 512MiB"),
        ("10", "seconds", "duration such as 30s"),
        ("512MiB", "seconds", "duration such as 30s"),
        ("5pp", "ratio", "share such as 10%"),
        ("", "ratio", "share such as 10%"),
        (True, "count", "plain number such as 5"),
        (math.nan, "count", "plain number such as 5"),
        (math.inf, "currency", "plain number such as 250.00"),
        ("1e999", "count", "plain number such as 5"),
    ],
)
def test_a_quantity_that_does_not_fit_is_refused_with_the_cure(text: object, unit: Unit, cure: str) -> None:
    with pytest.raises(ValueError, match=cure):
        parse_quantity(text, unit)


# ─ limits ─


@pytest.mark.parametrize(
    ("text", "unit", "baseline", "value"),
    [
        ("15%", "ratio", 0.083, 0.15),
        ("2x baseline", "bytes", 100.0, 200.0),
        ("1.5 × baseline", "count", 4.0, 6.0),
        ("baseline", "ratio", 0.9, 0.9),
        ("baseline - 5pp", "ratio", 0.9, 0.85),
        ("baseline + 5pp", "percent", 90.0, 95.0),
        ("baseline+512MiB", "bytes", 2.0**30, 1.5 * 2**30),
        ("baseline - 30s", "seconds", 60.0, 30.0),
        ("baseline - 5", "count", -3.0, -8.0),
        ("0x baseline", "count", 3.0, 0.0),
    ],
)
def test_a_limit_is_a_quantity_or_relative_to_the_baseline(
    text: str, unit: Unit, baseline: float, value: float
) -> None:
    limit = parse_limit(text, unit, baseline)

    assert limit.value(baseline) == pytest.approx(value)
    assert limit.text == text


@pytest.mark.parametrize("text", ["2x baseline", "baseline - 5", "baseline"])
def test_a_relative_limit_without_a_baseline_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="needs a baseline — give the KPI one"):
        parse_limit(text, "count", None)


@pytest.mark.parametrize("baseline", [0.0, -4.0])
def test_a_multiple_of_a_baseline_that_is_not_positive_is_refused(baseline: float) -> None:
    """Twice minus four is below minus four: the limit would lie on the wrong side."""
    with pytest.raises(ValueError, match="needs a baseline above zero"):
        parse_limit("2x baseline", "count", baseline)


@pytest.mark.parametrize("unit", ["ratio", "percent"])
def test_percent_beside_a_baseline_is_ambiguous(unit: Unit) -> None:
    with pytest.raises(ValueError, match=r"say 5pp \(points\), or 0.95x baseline"):
        parse_limit("baseline - 5%", unit, 0.9)


def test_a_relative_limit_read_without_its_baseline_is_an_error_and_not_a_number() -> None:
    limit = parse_limit("baseline - 5", "count", 10.0)

    with pytest.raises(ValueError, match="needs a baseline"):
        limit.value(None)


@ANY
@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.sampled_from("+-"))
def test_baseline_plus_and_minus_an_amount_is_arithmetic(baseline: float, amount: float, sign: str) -> None:
    limit = parse_limit(f"baseline {sign} {amount:.6f}", "count", baseline)

    expected = baseline + amount if sign == "+" else baseline - amount
    assert limit.value(baseline) == pytest.approx(expected, abs=1e-5)


def test_json_has_no_number_that_json_has_not() -> None:
    odd = {"a": [math.nan, (math.inf, 1.5)], "b": {"c": -math.inf}, "d": True, "e": None, "f": "NaN"}
    assert with_json_numbers(odd) == {
        "a": ["NaN", ["+Inf", 1.5]],
        "b": {"c": "-Inf"},
        "d": True,
        "e": None,
        "f": "NaN",
    }
    assert json_number(2.0) == 2.0


@pytest.mark.parametrize(
    ("value", "words"), [(math.inf, "infinite"), (-math.inf, "minus infinite"), (math.nan, "no number (0/0)")]
)
@pytest.mark.parametrize("unit", ["count", "ratio", "percent", "bytes", "seconds", "currency", "USD"])
def test_what_is_no_number_is_told_in_words(value: float, words: str, unit: str) -> None:
    assert format_value(value, unit) == words
    assert format_duration(value) == words


@pytest.mark.parametrize("unit", [*UNITS, "USD"])
@pytest.mark.parametrize("value", [1e16, 1e18, 1e307, 1e308, -1.7e308])
def test_what_is_huge_is_short_and_not_infinite(value: float, unit: str) -> None:
    assert "inf" not in format_value(value, unit)
    assert len(format_value(value, unit)) < 20


def test_huge_values_that_differ_are_told_apart() -> None:
    for unit in (*UNITS, "USD"):
        first, second = format_apart([1.2345e308, 1.2346e308], unit)
        assert first != second or unit == "ratio"
