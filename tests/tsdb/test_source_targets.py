"""Whose own a series is: the label ``target``, from the sources that targets name."""

from __future__ import annotations

import numpy as np

from watchdog.core.model import Labels, Sample
from watchdog.tsdb.head import Head
from watchdog.tsdb.labels import retarget_key, series_key

T = 1_700_000_000_000


def keys(head: Head, name: str = "equity") -> list[dict[str, str]]:
    return [{k: v for k, v in labels if k != "__name__"} for labels, _, _ in head.latest_samples(name)]


def ingest(head: Head, source: str, now: int, labels: Labels = (), value: float = 1.0) -> None:
    head.ingest(source, now, [Sample("equity", labels, now, value)])


def test_series_of_a_targets_own_source_carry_it_and_those_of_others_do_not() -> None:
    head = Head(target_by_source={"a": "alpha"})
    ingest(head, "a", T)
    ingest(head, "feed", T)

    assert keys(head) == [{"source": "a", "target": "alpha"}, {"source": "feed"}]


def test_a_label_target_in_the_data_is_the_datas_own_and_never_says_whose_it_is() -> None:
    claims = (("target", "beta"), ("exported_target", "x"))

    assert dict(series_key("equity", claims, "a", {"a": "alpha"})) == {
        "__name__": "equity",
        "source": "a",
        "target": "alpha",
        "exported_target": "x",
        "exported_exported_target": "beta",
    }
    assert "target" not in dict(series_key("equity", claims, "feed", {"a": "alpha"}))
    assert dict(series_key("equity", claims, "feed", None))["target"] == "beta"


def test_what_is_held_goes_on_under_its_new_labels_when_a_source_becomes_a_targets_own() -> None:
    head = Head({"equity": 3_600_000})
    ingest(head, "a", T, value=1_000.0)

    head.set_target_by_source({"a": "alpha"})
    ingest(head, "a", T + 1_000, value=900.0)

    (page,) = [page for page in head.pages if any(("__name__", "equity") in key for key in page.keys)]
    assert len(page.keys) == 1
    assert page.v[0][~np.isnan(page.v[0])].tolist() == [1_000.0, 900.0]
    head.set_target_by_source({"a": "gamma"})
    assert keys(head) == [{"source": "a", "target": "gamma"}]
    head.set_target_by_source(None)
    assert keys(head) == [{"source": "a"}]


def test_what_the_data_called_target_before_is_kept_apart_from_whose_it_is() -> None:
    head = Head()
    ingest(head, "a", T, (("target", "x"),))
    ingest(head, "a", T + 1, (("target", "x"),))

    head.set_target_by_source({"a": "alpha"})

    assert keys(head) == [{"exported_target": "x", "source": "a", "target": "alpha"}]
    ingest(head, "a", T + 2, (("target", "x"),))
    assert len(keys(head)) == 1


def test_what_was_archived_as_another_targets_is_restored_as_whose_it_is_now() -> None:
    before = (("__name__", "equity"), ("source", "a"), ("target", "beta"))
    head = Head({"equity": 3_600_000}, target_by_source={"a": "alpha"})

    head.restore("a", [(T, T + 1_000)], [([before], [T], np.array([T, T + 1_000]), np.array([[5.0, 6.0]]))], T + 2_000)

    assert keys(head) == [{"source": "a", "target": "alpha"}]
    assert retarget_key(before, {}) == (("__name__", "equity"), ("source", "a"))
