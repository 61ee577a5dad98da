"""Where the pages of each source are: whoever reads one of a thousand sources looks at no other's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from watchdog.tsdb.head_page import HeadPage
from watchdog.tsdb.labels import SOURCE_LABEL, TARGET_LABEL, Matcher


class PagesBySource:
    """In the order in which they came."""

    def __init__(self) -> None:
        self._data: dict[str, list[HeadPage]] = {}
        self._all: dict[str, list[HeadPage]] = {}
        self._found: dict[tuple[Matcher, ...], list[HeadPage]] = {}

    def add(self, source: str, page: HeadPage, *, is_up: bool) -> None:
        self._all.setdefault(source, []).append(page)
        if not is_up:
            self._data.setdefault(source, []).append(page)
        self._found = {}

    def forget_targets(self) -> None:
        """Other sources are targets' own by now."""
        self._found = {}

    def pages(self, source: str) -> Sequence[HeadPage]:
        """All of its pages."""
        return self._all.get(source, ())

    def data_pages(self, source: str) -> Sequence[HeadPage]:
        """Its pages but for that of `up`."""
        return self._data.get(source, ())

    def find(
        self, matchers: tuple[Matcher, ...], target_by_source: Mapping[str, str] | None
    ) -> Sequence[HeadPage] | None:
        """Those that may hold what the matchers on ``source`` and ``target`` let through; None where there are none.
        `target_by_source`: whose own each source is; None: ``target`` is a label like any other."""
        ours = (SOURCE_LABEL,) if target_by_source is None else (SOURCE_LABEL, TARGET_LABEL)
        said = tuple(each for each in matchers if each.label in ours)
        if not said:
            return None
        found = self._found.get(said)
        if found is None:
            found = []
            for source, pages in self._all.items():
                labels = {SOURCE_LABEL: source, TARGET_LABEL: (target_by_source or {}).get(source, "")}
                if all(each.matches(labels[each.label]) for each in said):
                    found += pages
            self._found[said] = found
        return found
