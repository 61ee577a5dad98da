"""What is gone because something else has come in its place is judged by that; what was there all along says nothing of it."""

from __future__ import annotations

import pytest

from tests.rules.builders import NOW, make_check, make_reading
from watchdog.core.model import Labels, Verdict
from watchdog.rules import is_identity_label, judge, judge_replaced
from watchdog.rules.replaced import is_market_label

V1, V2 = (("version", "v1"),), (("version", "v2"),)
BTC, ETH, SOL = (("pair", "BTC"),), (("pair", "ETH"),), (("pair", "SOL"),)


def pair_and_version(pair: str, version: str) -> Labels:
    return (("pair", pair), ("version", version))


def judged(values: dict[Labels, float], gone: Labels, siblings: tuple[Labels, ...] | None) -> Verdict:
    """What is said of `gone`, which tripped beside `siblings`, now that there are `values`. Bad is above 5, well below 4."""
    check = make_check({"above": 5, "clear": 4})
    known = [gone, *(siblings or ())]
    verdicts = judge_replaced(judge(check, make_reading(values), NOW, known), {gone: siblings}.get)
    return next(verdict for verdict in verdicts if verdict.labels == gone)


@pytest.mark.parametrize(
    ("values", "gone", "siblings", "outcome", "cleared"),
    [
        ({V1: 1.0}, V2, (V2,), "ok", True),
        ({V1: 9.0}, V2, (V2,), "ok", False),
        ({V1: 4.5}, V2, (V2,), "ok", False),
        ({V1: float("nan")}, V2, (V2,), "nodata", False),
        ({V1: 1.0}, V2, (V1, V2), "nodata", False),
        ({V1: 1.0}, V2, None, "nodata", False),
        ({(): 1.0}, V2, (V2,), "ok", True),
        ({}, V2, (V2,), "nodata", False),
        ({ETH: 1.0}, BTC, (BTC, ETH), "nodata", False),
        ({ETH: 1.0, SOL: 1.0}, BTC, (BTC, ETH), "nodata", False),
        ({pair_and_version("BTC", "1"): 1.0}, pair_and_version("BTC", "2"), (), "ok", True),
        (
            {pair_and_version("ETH", "1"): 1.0},
            pair_and_version("BTC", "2"),
            (pair_and_version("BTC", "2"), pair_and_version("ETH", "2")),
            "nodata",
            False,
        ),
        (
            {pair_and_version("BTC", "1"): 1.0, pair_and_version("ETH", "1"): 9.0},
            pair_and_version("BTC", "2"),
            (pair_and_version("BTC", "2"), pair_and_version("ETH", "2")),
            "ok",
            False,
        ),
        (
            {(("instance", "a"),): 1.0, (("instance", "c"),): 1.0},
            (("instance", "b"),),
            ((("instance", "a"),), (("instance", "b"),)),
            "ok",
            True,
        ),
        ({(("deploy", "7"),): 1.0}, (("deploy", "8"),), ((("deploy", "8"),),), "ok", True),
        ({(("source", "b"),): 1.0}, (("source", "a"),), ((("source", "a"),),), "nodata", False),
        ({ETH: 1.0}, BTC, (BTC,), "nodata", False),
        ({(("exchange", "b"), ("version", "1")): 1.0}, (("exchange", "a"), ("version", "2")), (), "nodata", False),
        ({(): 1.0}, BTC, (BTC,), "nodata", False),
    ],
    ids=[
        "come and well",
        "come and bad",
        "come and not back yet",
        "come without a value",
        "there all along",
        "nobody knows what was there",
        "the old version has no such label",
        "lost as a whole",
        "another pair, there all along",
        "another pair opened beside one that was there",
        "another version of the same pair",
        "another version of another pair",
        "one of those that have come is bad",
        "another instance beside one that was there",
        "a label nobody knows, all of whose values are new",
        "another source",
        "another pair, where one that was delisted was the only one",
        "another version on another exchange",
        "no pair any more",
    ],
)
def test_what_has_come_in_the_place_of_what_is_gone_speaks_for_it(
    values: dict[Labels, float], gone: Labels, siblings: tuple[Labels, ...] | None, outcome: str, cleared: bool
) -> None:
    if not values:
        verdict = judge(make_check({"above": 5, "clear": 4}), make_reading({}), NOW, [gone])[0]
    else:
        verdict = judged(values, gone, siblings)

    assert (verdict.outcome, verdict.cleared) == (outcome, cleared)


def test_the_reason_says_what_is_gone_and_what_has_come() -> None:
    assert (
        judged({V1: 1.0}, V2, (V2,)).reason == "version=v2 is gone; since then version=v1 has come: k 1 is not above 5"
    )


@pytest.mark.parametrize("name", ["version", "app_version", "git_sha", "pid", "POD", "exported_instance", "hostname"])
def test_labels_that_change_with_a_deployment_are_known_by_their_names(name: str) -> None:
    assert is_identity_label(name)


@pytest.mark.parametrize("name", ["pair", "side", "exchange", "disk", "source", "job", "strategy", "conversion"])
def test_labels_of_the_market_are_not_taken_for_such(name: str) -> None:
    assert not is_identity_label(name)


@pytest.mark.parametrize(
    "name", ["pair", "PAIR", "symbols", "trading_pair", "base_currency", "exchange_name", "account_id"]
)
def test_labels_of_the_market_are_known_by_their_names(name: str) -> None:
    assert is_market_label(name)


@pytest.mark.parametrize("name", ["deploy", "model", "worker", "node", "version"])
def test_other_labels_are_not_taken_for_those_of_the_market(name: str) -> None:
    assert not is_market_label(name)
