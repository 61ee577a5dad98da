"""What a source's own entry makes of its series."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from watchdog.core.model import Labels, Sample
from watchdog.sources import HostSource
from watchdog.sources.relabel import Relabeling


def names_kept(names: list[str], keep: tuple[str, ...] = (), drop: tuple[str, ...] = ()) -> list[str]:
    samples = [Sample(name, (), 1, 1.0) for name in names]
    relabeling = Relabeling({}, keep, drop)
    first = [each.name for each in relabeling.apply(samples)]
    assert [each.name for each in relabeling.apply(samples)] == first, "what it remembers changes nothing"
    return first


def labelled(labels: Labels, **added: str) -> Labels:
    (sample,) = Relabeling(added, (), ()).apply([Sample("a", labels, 1, 1.0)])
    return sample.labels


def test_without_a_word_everything_stays() -> None:
    samples = [Sample("a", (), 1, 1.0)]

    assert Relabeling({}, (), ()).apply(samples) is samples


def test_a_name_is_kept_when_an_expression_matches_the_whole_of_it() -> None:
    assert names_kept(["equity", "equity_total", "my_equity"], keep=("equity",)) == ["equity"]
    assert names_kept(["equity", "equity_total", "x"], keep=("equity.*", "y")) == ["equity", "equity_total"]


def test_what_is_dropped_is_dropped_also_where_it_is_kept() -> None:
    assert names_kept(["a", "ab", "b"], keep=("a.*",), drop=("ab",)) == ["a"]


def test_labels_of_the_entry_win_and_those_of_the_data_are_exported() -> None:
    assert labelled((("venue", "kraken"), ("z", "1")), venue="binance") == (
        ("exported_venue", "kraken"),
        ("venue", "binance"),
        ("z", "1"),
    )
    assert labelled((("exported_venue", "old"), ("venue", "kraken")), venue="binance") == (
        ("exported_exported_venue", "kraken"),
        ("exported_venue", "old"),
        ("venue", "binance"),
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"labels": {"source": "x"}}, "watchdog's own"),
        ({"labels": {"a b": "x"}}, "no label name"),
        ({"labels": {"a": ""}}, "1 to 1024 characters"),
        ({"keep": ["("]}, "no regular expression"),
        ({"drop": ["(?=a)"]}, "look-around"),
    ],
)
def test_what_cannot_be_is_refused_with_the_cure(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        HostSource.model_validate({"type": "host", **fields})


def test_a_page_that_says_up_of_something_is_kept_under_another_name() -> None:
    def names(*samples: Sample) -> list[str]:
        return [sample.name for sample in Relabeling({}, (), ()).apply(list(samples))]

    up, labelled = Sample("up", (), 1, 1.0), Sample("up", (("job", "a"),), 1, 0.0)
    assert names(up, labelled, Sample("x", (), 1, 1.0)) == ["exported_up", "up", "x"]
    assert names(up, Sample("exported_up", (), 1, 5.0)) == ["exported_exported_up", "exported_up"]


def test_two_label_sets_of_a_page_never_become_one_by_the_labels_of_its_entry() -> None:
    samples = [
        Sample("x", (("env", "a"),), 1, 1.0),
        Sample("x", (("exported_env", "a"),), 1, 2.0),
        Sample("x", (("env", "b"),), 1, 3.0),
    ]
    relabeling = Relabeling({"env": "prod"}, (), ())
    for _ in range(2):
        found = {sample.labels: sample.v for sample in relabeling.apply(samples)}
        assert found == {
            (("env", "prod"), ("exported_env", "a")): 1.0,
            (("env", "prod"), ("exported_exported_env", "a")): 2.0,
            (("env", "prod"), ("exported_env", "b")): 3.0,
        }
