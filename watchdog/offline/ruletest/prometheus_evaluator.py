"""What Prometheus makes of its rules, tick by tick: alerts with `for` and `keep_firing_for`, recorded series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from watchdog.core.model import Labels, Millis
from watchdog.offline.ruletest.sample_feed import DuplicateError, SampleFeed
from watchdog.prometheus_rules.groups import PrometheusRule, RuleGroup, fill_subquery_steps
from watchdog.prometheus_rules.helpers import TemplateError
from watchdog.prometheus_rules.template import LabelMap
from watchdog.promql import Expr, PromqlError, parse
from watchdog.tsdb.labels import METRIC_NAME_LABEL

_RETENTION: Millis = 15 * 60_000
"""How long a resolved alert is remembered."""


@dataclass(slots=True)
class Alert:
    labels: Labels
    """With `alertname`."""
    annotations: Labels
    active_since: Millis
    state: Literal["pending", "firing", "inactive"] = "pending"
    keep_firing_since: Millis | None = None
    """Since when it only fires on because of `keep_firing_for`."""
    resolved_at: Millis | None = None


class RuleEvaluationError(Exception):
    """A rule that could not be evaluated."""


class PrometheusRuleEvaluator:
    """Groups of rules, evaluated on the samples of a test."""

    def __init__(
        self, groups: Sequence[RuleGroup], feed: SampleFeed, step: Millis, external: Labels = (), url: str = ""
    ) -> None:
        self._groups = groups
        self._feed = feed
        self._step = step
        self._external = LabelMap(external)
        self._url = url
        self._active: dict[int, dict[Labels, Alert]] = {}
        self._recorded: dict[int, list[Labels]] = {}
        self._parsed: dict[str, Expr] = {}

    def evaluate(self, t: Millis) -> list[str]:
        """One evaluation of all groups; returns what went wrong, one text a rule."""
        wrong = []
        for group in self._groups:
            for rule in group.rules:
                try:
                    self._evaluate_rule(group, rule, t)
                except (RuleEvaluationError, PromqlError, DuplicateError) as error:
                    wrong.append(f"rule {rule.name} of group {group.name}: {error}")
        return wrong

    def firing(self, name: str) -> list[tuple[Labels, Labels]]:
        """Labels (with `alertname`) and annotations of every alert of that name that fires."""
        return [
            (alert.labels, alert.annotations)
            for group in self._groups
            for rule in group.rules
            if rule.is_alert and rule.name == name
            for alert in self._active.get(id(rule), {}).values()
            if alert.state == "firing"
        ]

    def _evaluate_rule(self, group: RuleGroup, rule: PrometheusRule, t: Millis) -> None:
        at = t - group.query_offset
        found = self._feed.query(rule.expr, at)
        samples = (
            self._evaluate_alert(group, rule, found, t) if rule.is_alert else _evaluate_recording(group, rule, found)
        )
        before = self._recorded.get(id(rule), [])
        # As Prometheus does: what can be written is written, the first that cannot makes the rule fail.
        failed: DuplicateError | None = None
        written: dict[Labels, None] = {}
        for key, value in samples:
            try:
                self._feed.write(key, at, value)
                written[key] = None
            except DuplicateError as error:
                failed = error
        for key in before:
            if key not in written:
                self._feed.mark_stale(key, at)
        self._recorded[id(rule)] = list(written)
        if failed is not None:
            raise failed

    def _evaluate_alert(
        self, group: RuleGroup, rule: PrometheusRule, found: Mapping[Labels, float], t: Millis
    ) -> Iterable[tuple[Labels, float]]:
        now: dict[Labels, Alert] = {}
        for key, value in found.items():
            labels, annotations = self._render_alert(rule, key, value, t - group.query_offset)
            if labels in now:
                raise RuleEvaluationError("vector contains metrics with the same labelset after applying alert labels")
            now[labels] = Alert(labels, annotations, t)
        active = self._active.setdefault(id(rule), {})
        for labels, alert in now.items():
            known = active.get(labels)
            if known is not None and known.state != "inactive":
                known.annotations = alert.annotations
            else:
                active[labels] = alert
        samples: list[tuple[Labels, float]] = []
        alive = 0
        for labels, alert in list(active.items()):
            if labels in now:
                alert.keep_firing_since = None
            elif not _keeps_firing(active, alert, rule, t):
                continue
            alive += 1
            if alert.state == "pending" and t - alert.active_since >= rule.for_duration:
                alert.state = "firing"
            samples.append((_merge_labels(labels, {METRIC_NAME_LABEL: "ALERTS", "alertstate": alert.state}), 1.0))
            samples.append(
                (_merge_labels(labels, {METRIC_NAME_LABEL: "ALERTS_FOR_STATE"}), float(alert.active_since // 1_000))
            )
        if group.limit and alive > group.limit:
            self._active[id(rule)] = {}
            raise RuleEvaluationError(f"exceeded limit of {group.limit} with {alive} alerts")
        return samples

    def _render_alert(self, rule: PrometheusRule, key: Labels, value: float, t: Millis) -> tuple[Labels, Labels]:
        """The alert's labels and annotations, templates filled in."""
        labels = LabelMap(key)
        data = {"Labels": labels, "ExternalLabels": self._external, "ExternalURL": self._url, "Value": value}
        variables = {"labels": labels, "externalLabels": self._external, "externalURL": self._url, "value": value}

        def query(text: str) -> list[dict[str, Any]]:
            if text not in self._parsed:
                try:
                    self._parsed[text] = parse(fill_subquery_steps(text, self._step))
                except PromqlError as error:
                    raise TemplateError(f"error calling query: {error}") from None
            try:
                return [
                    {"Labels": LabelMap(each), "Value": v}
                    for each, v in self._feed.query(self._parsed[text], t).items()
                ]
            except PromqlError as error:
                raise TemplateError(f"error calling query: {error}") from None

        def fill(pairs: Iterable[tuple[str, Any]]) -> dict[str, str]:
            filled = {}
            for name, template in pairs:
                try:
                    filled[name] = template.render(data, variables, query)
                except TemplateError as error:
                    filled[name] = f"<error expanding template: {error}>"
            return filled

        bare = tuple(pair for pair in key if pair[0] != METRIC_NAME_LABEL)
        return _merge_labels(bare, {**fill(rule.labels), "alertname": rule.name}), _merge_labels(
            (), fill(rule.annotations)
        )


def _keeps_firing(active: dict[Labels, Alert], alert: Alert, rule: PrometheusRule, t: Millis) -> bool:
    """What becomes of an alert whose expression no longer returns it."""
    if alert.state == "firing" and rule.keep_firing_for:
        alert.keep_firing_since = t if alert.keep_firing_since is None else alert.keep_firing_since
        if t - alert.keep_firing_since < rule.keep_firing_for:
            return True
    if alert.state == "pending" or (alert.resolved_at is not None and t - alert.resolved_at > _RETENTION):
        del active[alert.labels]
    if alert.state != "inactive":
        alert.state, alert.resolved_at = "inactive", t
    return False


def _evaluate_recording(
    group: RuleGroup, rule: PrometheusRule, found: Mapping[Labels, float]
) -> Iterable[tuple[Labels, float]]:
    added_labels = {METRIC_NAME_LABEL: rule.name, **{name: template.text for name, template in rule.labels}}
    samples = {_merge_labels(key, added_labels): value for key, value in found.items()}
    if len(samples) < len(found):
        raise RuleEvaluationError("vector contains metrics with the same labelset after applying rule labels")
    if group.limit and len(samples) > group.limit:
        raise RuleEvaluationError(f"exceeded limit of {group.limit} with {len(samples)} series")
    return samples.items()


def _merge_labels(labels: Labels, more: Mapping[str, str]) -> Labels:
    return tuple(sorted((name, text) for name, text in {**dict(labels), **more}.items() if text))
