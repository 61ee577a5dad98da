"""What a source's own entry makes of its series: names that are kept or dropped, labels that are added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from watchdog.core.model import Labels, Sample
from watchdog.core.pattern import Pattern, whole_pattern
from watchdog.core.protocols import Source

_MAX_CACHED = 20_000
"""Names and label sets that are remembered; a source that makes up names all the time begins anew."""


class Relabeling:
    """For any thread: what it remembers may be found out twice."""

    def __init__(self, labels: Mapping[str, str], keep: Sequence[str], drop: Sequence[str]) -> None:
        self._added = dict(labels)
        self._keep = [whole_pattern(text) for text in keep]
        self._drop = [whole_pattern(text) for text in drop]
        self._is_kept: dict[str, bool] = {}
        self._labels: dict[Labels, Labels] = {}
        self._origins: dict[Labels, dict[str, str]] = {}
        """The same backwards: two label sets of the data never become one."""

    @classmethod
    def of(cls, source: Source) -> Relabeling:
        """By what the source's entry says; a source of a test's need not say anything."""
        return cls(getattr(source, "labels", {}), getattr(source, "keep", ()), getattr(source, "drop", ()))

    def apply(self, samples: Iterable[Sample]) -> Iterable[Sample]:
        """The samples that are kept, with their labels, in their order."""
        if self._keep or self._drop:
            samples = [sample for sample in samples if type(sample) is not Sample or self._keeps(sample.name)]
        if self._added:
            samples = self._add_labels(samples)
        return _rename_up(samples)

    def _add_labels(self, samples: Iterable[Sample]) -> list[Sample]:
        return [
            sample._replace(labels=self._with_labels(sample.labels))
            if type(sample) is Sample and type(sample.labels) is tuple
            else sample
            for sample in samples
        ]

    def _keeps(self, name: object) -> bool:
        if not isinstance(name, str):
            return True  # what is no sample is counted as such further on
        known = self._is_kept.get(name)
        if known is None:
            if len(self._is_kept) >= _MAX_CACHED:
                self._is_kept.clear()
            known = (not self._keep or _any_matches(self._keep, name)) and not _any_matches(self._drop, name)
            self._is_kept[name] = known
        return known

    def _with_labels(self, labels: Labels) -> Labels:
        known = self._labels.get(labels)
        if known is None:
            if len(self._labels) >= _MAX_CACHED:
                self._labels.clear()
                self._origins.clear()
            known = _add_labels(labels, self._added)
            said = dict(labels)
            while (
                self._origins.setdefault(known, said) != said
            ):  # the data has another series that is called so already
                first = next((label for label, _ in known if label.startswith("exported_")), None)
                if first is None:
                    break
                known = tuple(sorted((f"exported_{label}" if label == first else label, v) for label, v in known))
            self._labels[labels] = known
        return known


def _rename_up(samples: Iterable[Sample]) -> Iterable[Sample]:
    """`up` without a label is what the watchdog says of the source itself; what the data says under that name becomes
    ``exported_up``."""
    listed = samples if isinstance(samples, list) else list(samples)
    if not any(_is_up(sample) for sample in listed):
        return listed
    names, new = {sample.name for sample in listed if type(sample) is Sample}, "exported_up"
    while new in names:
        new = f"exported_{new}"
    return [sample._replace(name=new) if _is_up(sample) else sample for sample in listed]


def _is_up(sample: Sample) -> bool:
    return type(sample) is Sample and sample.name == "up" and not sample.labels


def _any_matches(patterns: Iterable[Pattern], name: str) -> bool:
    return any(pattern.matches(name) for pattern in patterns)


def _add_labels(labels: Labels, added: Mapping[str, str]) -> Labels:
    """As Prometheus does with the labels of a target: what the data says under such a name becomes ``exported_NAME``."""
    said = dict(labels)
    theirs = {name: said.pop(name) for name in added if name in said}
    merged = {**said, **added}
    for name, value in theirs.items():
        exported = f"exported_{name}"
        while exported in merged:
            exported = f"exported_{exported}"
        merged[exported] = value
    return tuple(sorted(merged.items()))
