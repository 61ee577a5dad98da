"""What the library of KPIs works out, beside numpy and by other formulas."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.support.kpi_library import FILES
from tests.support.property_settings import examples
from tests.support.series_builders import SeriesPoints, evenly_spaced, instant_vector, make_pages
from watchdog.core.model import Labels
from watchdog.documents.yaml_loader import load_document
from watchdog.tsdb.page import PageList

HOUR, DAY = 3_600, 86_400
Floats = npt.NDArray[np.float64]


@cache
def definition(name: str) -> dict[str, Any]:
    for path in FILES:
        data: Any = load_document(path, path.name).data
        if name in data["kpis"]:
            found: dict[str, Any] = data["kpis"][name]
            return found
    raise AssertionError(name)


def value_of(name: str, series: PageList, t: float) -> float | None:
    """The KPI's value, None where it is not believed: no value, none that is a number, or too little evidence."""
    values = values_of(name, series, t)
    assert len(values) <= 1
    return next(iter(values.values()), None)


def values_of(name: str, series: PageList, t: float) -> dict[Labels, float]:
    kpi = definition(name)
    if "needs" in kpi and not instant_vector(kpi["needs"], series, t):
        return {}
    return {labels: value for labels, value in instant_vector(kpi["expr"], series, t).items() if math.isfinite(value)}


def hourly(values: Floats) -> PageList:
    return make_pages({"equity": evenly_spaced(HOUR, values.tolist())})


def returns(number: int) -> st.SearchStrategy[Floats]:
    """Of so many hours, with heavy tails; rounded, so that some are alike, or nothing."""
    return st.builds(
        lambda seed, scale, digits: np.clip(
            np.round(scale * np.random.default_rng(seed).standard_t(3, number), digits), -0.2, 0.2
        ),
        st.integers(0, 10_000),
        st.sampled_from([0.0, 0.001, 0.01]),
        st.sampled_from([2, 3, 6]),
    )


def account(hours: Floats) -> Floats:
    return np.concatenate(([100_000.0], 100_000 * np.cumprod(1 + hours)))


@settings(max_examples=examples(40), deadline=None)
@given(hours=st.integers(168, 720).flatmap(returns))
def test_ratios_and_risk_are_those_of_numpy(hours: Floats) -> None:
    equity = account(hours)
    series, now = hourly(equity), len(hours) * HOUR
    seen = equity[1:] / equity[:-1] - 1
    year = math.sqrt(365 * 24)

    downside = math.sqrt(np.minimum(seen, 0) @ seen / len(seen))
    expected = {
        "sharpe_ratio": year * seen.mean() / deviation if (deviation := seen.std()) > 1e-9 else None,
        "sortino_ratio": year * seen.mean() / downside if downside > 0 else None,
        "value_at_risk": -np.quantile(seen, 0.05),
    }
    for name, value in expected.items():
        if value is not None:
            assert value_of(name, series, now) == pytest.approx(value, rel=1e-6, abs=1e-9), name
    if not seen.any():
        assert (value_of("sharpe_ratio", series, now), value_of("sortino_ratio", series, now)) == (None, None)


@settings(max_examples=examples(40), deadline=None)
@given(hours=returns(720))
def test_the_expected_shortfall_of_720_hours_is_the_mean_loss_of_the_worst_36(hours: Floats) -> None:
    equity = account(hours)
    worst = np.sort(equity[1:] / equity[:-1] - 1)[:36]

    assert value_of("expected_shortfall", hourly(equity), 720 * HOUR) == pytest.approx(-worst.mean(), abs=1e-9)


def test_a_gap_costs_the_hours_around_it_and_nothing_else() -> None:
    rng = np.random.default_rng(5)
    equity = account(rng.normal(0, 0.002, 400))
    points = [point for point in evenly_spaced(HOUR, equity.tolist()) if not 100 * HOUR <= point[0] < 110 * HOUR]
    seen = np.delete(equity[1:] / equity[:-1] - 1, slice(99, 110))

    assert value_of("value_at_risk", make_pages({"equity": points}), 400 * HOUR) == pytest.approx(
        -np.quantile(seen, 0.05)
    )


@pytest.mark.parametrize("name", ["sharpe_ratio", "sortino_ratio", "value_at_risk", "expected_shortfall"])
def test_less_than_a_week_of_hours_is_no_evidence(name: str) -> None:
    equity = account(np.random.default_rng(1).normal(0, 0.002, 200))

    assert value_of(name, hourly(equity), 167 * HOUR) is None
    assert value_of(name, hourly(equity), 168 * HOUR) is not None


@settings(max_examples=examples(40), deadline=None)
@given(hours=returns(180))
def test_drawdowns_and_returns_of_the_account(hours: Floats) -> None:
    equity = account(hours)
    series, now = hourly(equity), 180 * HOUR
    week = equity[-168:]  # a window is open on the left
    midnight = equity[180 // 24 * 24]

    assert value_of("account_equity", series, now) == equity[-1]
    assert value_of("current_drawdown", series, now) == pytest.approx(1 - equity[-1] / equity.max(), abs=1e-12)
    assert value_of("maximum_drawdown", series, now) == pytest.approx(
        max(1 - week[j] / week[i] for i in range(168) for j in range(i, 168)), abs=1e-12
    )
    assert value_of("daily_loss", series, now) == pytest.approx(1 - equity[-1] / midnight, abs=1e-12)
    assert value_of("weekly_return", series, now) == pytest.approx(equity[-1] / equity[-169] - 1, abs=1e-12)


def test_the_day_begins_at_midnight_and_not_a_day_ago() -> None:
    series = hourly(np.array([100.0] * 24 + [80.0] * 24 + [60.0] * 24))

    assert [value_of("daily_loss", series, hour * HOUR) for hour in (23, 24, 47, 48)] == pytest.approx([0, 0, 0, 0])
    assert value_of("daily_loss", make_pages({"equity": [(DAY, 100), (DAY + HOUR, 97)]}), DAY + HOUR) == pytest.approx(
        0.03
    )


# An increase stands for the whole window: 168 samples an hour apart span 167 hours of its 168.
_SPREAD = 168 / 167
_BASE = 1e6
"""Where counters stand at first: far from the zero that an increase is never extended beyond."""


def counters(**rises: float) -> PageList:
    """Counters that rise by so much within the week before 200 h, at once."""
    series: dict[str, list[tuple[float, float]]] = {}
    for key, rise in rises.items():
        name = f"trades_total{{result={key}}}" if key in ("win", "loss") else key
        series[name] = evenly_spaced(HOUR, [_BASE] * 100 + [_BASE + rise] * 101)
    return make_pages(series)


def wilson(won: float, number: float) -> tuple[float, float]:
    """Both rates p from which the share that was seen is 1.96 standard errors away: (w/n - p)² = z² p (1 - p) / n."""
    share, z = won / number, 1.96
    low, high = sorted(np.roots([1 + z * z / number, -2 * share - z * z / number, share * share]).real)
    return float(low), float(high)


@settings(max_examples=examples(100), deadline=None)
@given(won=st.integers(0, 500), lost=st.integers(0, 500))
def test_the_win_rate_and_its_bounds(won: int, lost: int) -> None:
    series = counters(win=won, loss=lost)
    names = ("win_rate", "win_rate_lower_bound", "win_rate_upper_bound")
    found = [value_of(name, series, 200 * HOUR) for name in names]

    if (won + lost) * _SPREAD < 30:
        assert found == [None, None, None]
    else:
        low, high = wilson(won * _SPREAD, (won + lost) * _SPREAD)
        assert found == [pytest.approx(x, rel=1e-6, abs=1e-6) for x in (won / (won + lost), low, high)]


def test_a_win_rate_that_was_worked_out_by_hand() -> None:
    """81 of 263 won: 25.5 % to 36.6 % (Newcombe 1998, table I)."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)


@settings(max_examples=examples(100), deadline=None)
@given(
    gain=st.floats(0, 1e5).map(lambda x: round(x, 2)),
    loss=st.floats(0, 1e5).map(lambda x: round(x, 2)),
    number=st.integers(0, 200),
)
def test_profit_factor_and_expectancy(gain: float, loss: float, number: int) -> None:
    series = counters(win=number, loss=0, trade_gain_sum_total=gain, trade_loss_sum_total=loss)
    factor, expectancy = (value_of(name, series, 200 * HOUR) for name in ("profit_factor", "expectancy"))

    if number * _SPREAD < 30:
        assert (factor, expectancy) == (None, None)
    else:
        assert factor == (pytest.approx(gain / loss, rel=1e-6) if loss else None)
        assert expectancy == pytest.approx((gain - loss) / number, rel=1e-6, abs=1e-6)


@settings(max_examples=examples(100), deadline=None)
@given(bars=st.lists(st.integers(0, 1_000), min_size=1, max_size=6))
def test_the_entropy_of_the_regimes(bars: list[int]) -> None:
    series = make_pages(
        {
            f"regime_bars_total{{regime={index}}}": evenly_spaced(60, [_BASE] * 300 + [_BASE + number] * 101)
            for index, number in enumerate(bars)
        }
    )
    found = value_of("regime_entropy", series, 400 * 60)

    shares = np.array([number for number in bars if number]) / max(sum(bars), 1)
    if sum(bars) < 250:
        assert sum(bars) * 360 / 359 >= 250 or found is None
    else:
        assert found == pytest.approx(float(-(shares * np.log2(shares)).sum()), abs=1e-9)


@pytest.mark.parametrize(("bars", "bits"), [([300, 0, 0], 0), ([200, 200], 1), ([100] * 4, 2), ([200, 100, 100], 1.5)])
def test_an_entropy_that_was_worked_out_by_hand(bars: list[int], bits: float) -> None:
    series = make_pages(
        {
            f"regime_bars_total{{regime={index}}}": evenly_spaced(60, [_BASE] * 300 + [_BASE + number] * 101)
            for index, number in enumerate(bars)
        }
    )

    assert value_of("regime_entropy", series, 400 * 60) == pytest.approx(bits, abs=1e-9)


def market(prices: npt.NDArray[np.floating[Any]], positions: list[float]) -> PageList:
    series: dict[str, list[tuple[float, float]]] = {}
    for index, (price, position) in enumerate(zip(prices.T, positions, strict=True)):
        series[f"last_price{{symbol=S{index}}}"] = evenly_spaced(300, price.tolist())
        series[f"position_value{{symbol=S{index}}}"] = evenly_spaced(300, [position] * len(price))
    return make_pages(series)


@settings(max_examples=examples(40), deadline=None)
@given(
    positions=st.lists(st.sampled_from([-3e4, -1e4, 5e3, 2e4]), min_size=2, max_size=5),
    common=st.floats(0, 3),
    seed=st.integers(0, 1_000),
)
def test_the_average_correlation_is_that_of_each_two_weighted_by_what_they_move(
    positions: list[float], common: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    steps = 0.001 * (common * rng.normal(size=(300, 1)) + rng.normal(size=(300, len(positions))))
    prices = 100 * np.cumprod(1 + steps, axis=0)
    made = (prices[1:] / prices[:-1] - 1)[-288:] * positions

    weights = np.outer(made.std(axis=0), made.std(axis=0))
    others = ~np.eye(len(positions), dtype=bool)
    expected = (np.corrcoef(made.T) * weights)[others].sum() / weights[others].sum()
    assert value_of("average_correlation", market(prices, positions), 299 * 300) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("positions", "expected"), [([1e4, 1e4], 1), ([1e4, -2e4], -1), ([1e4, 0], None)])
def test_two_prices_that_move_as_one(positions: list[float], expected: float | None) -> None:
    price = 100 * np.cumprod(1 + np.random.default_rng(3).normal(0, 0.001, 300))
    series = market(np.column_stack([price, price / 7]), positions)

    assert value_of("average_correlation", series, 299 * 300) == (
        None if expected is None else pytest.approx(expected, abs=1e-9)
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [("net_exposure", 0.3), ("leverage", 0.9), ("largest_position_share", 0.6), ("position_correlation", 0.85)],
)
def test_exposure_worked_out_by_hand(name: str, expected: float) -> None:
    series = make_pages(
        {
            "equity": [(0, 100_000)],
            "position_value{symbol=BTC}": [(0, 60_000)],
            "position_value{symbol=ETH}": [(0, -30_000)],
            "position_correlation{a=BTC,b=ETH}": [(0, -0.2)],
            "position_correlation{a=BTC,b=SOL}": [(0, 0.85)],
        }
    )

    assert value_of(name, series, 10) == pytest.approx(expected)


@settings(max_examples=examples(60), deadline=None)
@given(
    free=arrays.arrays(np.float64, 73, elements=st.integers(0, 10**6).map(lambda k: k * 1e6)),
)
def test_the_growth_a_day_is_the_slope_of_a_straight_line(free: Floats) -> None:
    at = np.arange(73) * 300.0
    written = {
        "host_disk_free_bytes{source=host}": list(zip(at.tolist(), free.tolist(), strict=True)),
        "storage_used_bytes": list(zip(at.tolist(), (1e12 - free).tolist(), strict=True)),
        "storage_limit_bytes": [(float(t), 1e12) for t in at],
    }
    series = make_pages(written)
    slope = np.polyfit(at[1:] - at[-1], free[1:], 1)[0]  # a window is open on the left
    expected = pytest.approx(-slope * DAY / max(free[-1], 1), rel=1e-6, abs=1e-3)

    assert value_of("disk_growth", series, at[-1]) == expected
    assert value_of("storage_growth", series, at[-1]) == expected


def event_counters(rises: dict[str, float]) -> PageList:
    """Counters that rise steadily, once a minute, for six hours."""
    return make_pages({name: evenly_spaced(60, [_BASE + rise * i for i in range(361)]) for name, rise in rises.items()})


@pytest.mark.parametrize(
    ("name", "rises", "expected"),
    [
        ("slippage_per_spread", {"slippage_sum_total": 3, "spread_sum_total": 2, "orders_filled_total": 1}, 1.5),
        ("slippage_per_spread", {"slippage_sum_total": 3, "spread_sum_total": 0, "orders_filled_total": 1}, None),
        ("slippage_per_spread", {"slippage_sum_total": 3, "spread_sum_total": 2, "orders_filled_total": 0.3}, None),
        ("order_failure_share", {"orders_failed_total": 1, "orders_total": 4}, 0.25),
        ("order_failure_share", {"orders_failed_total": 1, "orders_total": 1}, None),
        ("signal_conversion", {"orders_filled_total": 0, "signals_total": 1}, 0),
        ("signal_conversion", {"orders_filled_total": 0, "signals_total": 0}, None),
        ("invalid_data_share", {"market_data_invalid_total": 1, "market_data_total": 20}, 0.05),
        ("failed_request_share", {"exchange_requests_failed_total": 2, "exchange_requests_total": 10}, 0.2),
        ("regime_change_share", {"hmm_regime_changes_total": 0.1, "hmm_bars_total": 1}, 0.1),
        ("model_confidence", {"hmm_confidence_sum_total": 0.9, "hmm_bars_total": 1}, 0.9),
        ("training_failure_share", {"training_failures_total": 0.1, "training_attempts_total": 0.2}, 0.5),
        ("training_failure_share", {"training_failures_total": 0, "training_attempts_total": 0}, None),
        ("prediction_failure_share", {"prediction_errors_total": 0.2, "predictions_total": 1}, 0.2),
        ("invalid_prediction_share", {"invalid_predictions_total": 0.2, "predictions_total": 1}, 0.2),
    ],
)
def test_shares_of_events(name: str, rises: dict[str, float], expected: float | None) -> None:
    assert value_of(name, event_counters(rises), 360 * 60) == (None if expected is None else pytest.approx(expected))


GAUGES: SeriesPoints = {
    "last_tick_timestamp_seconds{symbol=BTC}": [(1_000, 990)],
    "last_tick_timestamp_seconds{symbol=ETH}": [(1_000, 700)],
    "model_trained_timestamp_seconds": [(1_000, 400)],
    "losing_streak": [(1_000, 3)],
    "exchange_connection_failures{exchange=a}": [(1_000, 2)],
    "exchange_connections{exchange=a}": [(1_000, 4)],
    "exchange_connections_limit{exchange=a}": [(1_000, 5)],
    "exchange_connections{exchange=b}": [(1_000, 4)],
    "exchange_connections_limit{exchange=b}": [(1_000, 0)],
    "open_orders": [(1_000, 3)],
    "open_orders_limit": [(1_000, 12)],
    "open_positions": [(1_000, 2)],
    "open_positions_limit": [(1_000, 8)],
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("symbol_tick_age", {(("symbol", "BTC"),): 10, (("symbol", "ETH"),): 300}),
        ("model_age", {(): 600}),
        ("trades_lost_in_a_row", {(): 3}),
        ("failed_connections", {(("exchange", "a"),): 2}),
        ("connection_share", {(("exchange", "a"),): 0.8}),
        ("open_order_share", {(): 0.25}),
        ("open_position_share", {(): 0.25}),
    ],
)
def test_what_gauges_say(name: str, expected: dict[Labels, float]) -> None:
    assert values_of(name, make_pages(GAUGES), 1_000) == pytest.approx(expected)


def test_the_range_of_five_minutes_against_that_of_the_week() -> None:
    values = np.random.default_rng(2).uniform(1, 3, 8 * 24 * 60)
    series = make_pages(
        {"atr": evenly_spaced(60, values.tolist()), "atr{symbol=FLAT}": evenly_spaced(60, [0.0] * 11_520)}
    )
    now = (len(values) - 1) * 60

    assert values_of("atr_ratio", series, now) == pytest.approx(
        {(): values[-5:].mean() / values[-7 * 24 * 60 :].mean()}
    )


def test_every_kpi_of_the_library_has_values_here() -> None:
    names = {name for path in FILES for name in load_document(path, path.name).data["kpis"]}

    assert [name for name in sorted(names) if f'"{name}"' not in Path(__file__).read_text(encoding="utf-8")] == []
