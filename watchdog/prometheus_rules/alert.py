"""What an alert from one of Prometheus's files says to people, beside what our rules say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from watchdog.core.model import Labels
from watchdog.core.text import MAX_LABEL_CHARACTERS, shorten
from watchdog.prometheus_rules.helpers import TemplateError
from watchdog.prometheus_rules.template import LabelMap, QueryFunction, Template

RUNBOOK_ANNOTATIONS = ("runbook_url", "runbook")


@dataclass(frozen=True, slots=True)
class PrometheusAlert:
    """What a rule from one of Prometheus's files says to people, beside what ours say."""

    name: str
    """As it stands in the file; the rule may be called otherwise."""
    labels: tuple[tuple[str, Template], ...]
    """Those that are filled in when it trips."""
    annotations: tuple[tuple[str, Template], ...]

    def template_texts(self) -> list[list[tuple[str, str]]]:
        return [[(key, template.text) for key, template in each] for each in (self.labels, self.annotations)]

    def queries(self) -> list[str]:
        """What its templates ask."""
        return [text for _, template in (*self.labels, *self.annotations) for text in template.queries()]

    def render_annotations(self, labels: Labels, value: float | None, run_query: QueryFunction) -> dict[str, str]:
        """By name, filled in as Prometheus does it."""
        fill = _filler(labels, value, run_query)
        return {key: text for key, template in self.annotations if (text := fill(template))}

    def render_lines(self, labels: Labels, value: float | None, run_query: QueryFunction) -> list[str]:
        """What people are told, filled in as Prometheus does it. A template that fails says so in its place."""
        fill = _filler(labels, value, run_query)
        known = dict(self.annotations)
        first = [fill(known[key]) for key in ("summary", "message", "description") if key in known]
        rest = [
            f"{key}: {fill(template)}"
            for key, template in (*self.annotations, *self.labels)
            if key not in ("summary", "message", "description") and not _is_link(key, template)
        ]
        return [line for line in (*first, *rest) if line]


def _filler(labels: Labels, value: float | None, run_query: QueryFunction) -> Callable[[Template], str]:
    held = LabelMap((name, shorten(text, MAX_LABEL_CHARACTERS)) for name, text in labels)
    v = float("nan") if value is None else value
    data = {"Labels": held, "ExternalLabels": LabelMap(), "ExternalURL": "", "Value": v}
    variables = {"labels": held, "externalLabels": LabelMap(), "externalURL": "", "value": v}

    def fill(template: Template) -> str:
        try:
            return " ".join(template.render(data, variables, run_query).split())
        except TemplateError as error:
            return f"<error expanding template: {error}>"

    return fill


def _is_link(key: str, template: Template) -> bool:
    """A runbook that the rule itself carries."""
    return key in RUNBOOK_ANNOTATIONS and "{{" not in template.text
