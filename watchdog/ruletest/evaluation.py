"""What Prometheus makes of its rules, tick by tick: alerts with `for` and `keep_firing_for`, recorded series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from watchdog.config.prometheus.groups import Group, Rule, with_step
from watchdog.config.prometheus.helpers import TemplateError
from watchdog.config.prometheus.templates import LabelMap
from watchdog.model import Labels, Millis
from watchdog.promql import Expr, PromqlError, parse
from watchdog.promql.nodes import NAME
from watchdog.ruletest.tape import DuplicateError, Tape

_RETENTION: Millis = 15 * 60_000
"""How long a resolved alert is remembered."""


@dataclass(slots=True)
class Alert:
    labels: Labels
    """With `alertname`."""
    annotations: Labels
    active: Millis
    state: Literal["pending", "firing", "inactive"] = "pending"
    kept: Millis | None = None
    """Since when it only fires on because of `keep_firing_for`."""
    resolved: Millis | None = None


class RuleError(Exception):
    """A rule that could not be evaluated."""


class Rules:
    """Groups of rules on a tape."""

    def __init__(self, groups: Sequence[Group], tape: Tape, step: Millis, external: Labels = (), url: str = "") -> None:
        self._groups = groups
        self._tape = tape
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
                    self._one(group, rule, t)
                except (RuleError, PromqlError, DuplicateError) as error:
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

    def _one(self, group: Group, rule: Rule, t: Millis) -> None:
        at = t - group.offset
        found = self._tape.ask(rule.expr, at)
        samples = self._alert(group, rule, found, t) if rule.is_alert else _record(group, rule, found)
        before = self._recorded.get(id(rule), [])
        # As Prometheus does: what can be written is written, the first that cannot makes the rule fail.
        failed: DuplicateError | None = None
        written: dict[Labels, None] = {}
        for key, value in samples:
            try:
                self._tape.write(key, at, value)
                written[key] = None
            except DuplicateError as error:
                failed = error
        for key in before:
            if key not in written:
                self._tape.mark_gone(key, at)
        self._recorded[id(rule)] = list(written)
        if failed is not None:
            raise failed

    def _alert(
        self, group: Group, rule: Rule, found: Mapping[Labels, float], t: Millis
    ) -> Iterable[tuple[Labels, float]]:
        now: dict[Labels, Alert] = {}
        for key, value in found.items():
            labels, annotations = self._dressed(rule, key, value, t - group.offset)
            if labels in now:
                raise RuleError("vector contains metrics with the same labelset after applying alert labels")
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
                alert.kept = None
            elif not _fires_on(active, alert, rule, t):
                continue
            alive += 1
            if alert.state == "pending" and t - alert.active >= rule.hold:
                alert.state = "firing"
            samples.append((_key(labels, {NAME: "ALERTS", "alertstate": alert.state}), 1.0))
            samples.append((_key(labels, {NAME: "ALERTS_FOR_STATE"}), float(alert.active // 1_000)))
        if group.limit and alive > group.limit:
            self._active[id(rule)] = {}
            raise RuleError(f"exceeded limit of {group.limit} with {alive} alerts")
        return samples

    def _dressed(self, rule: Rule, key: Labels, value: float, t: Millis) -> tuple[Labels, Labels]:
        """The alert's labels and annotations, templates filled in."""
        labels = LabelMap(key)
        data = {"Labels": labels, "ExternalLabels": self._external, "ExternalURL": self._url, "Value": value}
        variables = {"labels": labels, "externalLabels": self._external, "externalURL": self._url, "value": value}

        def query(text: str) -> list[dict[str, Any]]:
            if text not in self._parsed:
                try:
                    self._parsed[text] = parse(with_step(text, self._step))
                except PromqlError as error:
                    raise TemplateError(f"error calling query: {error}") from None
            try:
                return [
                    {"Labels": LabelMap(each), "Value": v} for each, v in self._tape.ask(self._parsed[text], t).items()
                ]
            except PromqlError as error:
                raise TemplateError(f"error calling query: {error}") from None

        def fill(pairs: Iterable[tuple[str, Any]]) -> dict[str, str]:
            filled = {}
            for name, template in pairs:
                try:
                    filled[name] = template.fill(data, variables, query)
                except TemplateError as error:
                    filled[name] = f"<error expanding template: {error}>"
            return filled

        bare = tuple(pair for pair in key if pair[0] != NAME)
        return _key(bare, {**fill(rule.labels), "alertname": rule.name}), _key((), fill(rule.annotations))


def _fires_on(active: dict[Labels, Alert], alert: Alert, rule: Rule, t: Millis) -> bool:
    """What becomes of an alert whose expression no longer returns it."""
    if alert.state == "firing" and rule.keep:
        alert.kept = t if alert.kept is None else alert.kept
        if t - alert.kept < rule.keep:
            return True
    if alert.state == "pending" or (alert.resolved is not None and t - alert.resolved > _RETENTION):
        del active[alert.labels]
    if alert.state != "inactive":
        alert.state, alert.resolved = "inactive", t
    return False


def _record(group: Group, rule: Rule, found: Mapping[Labels, float]) -> Iterable[tuple[Labels, float]]:
    said = {NAME: rule.name, **{name: template.text for name, template in rule.labels}}
    samples = {_key(key, said): value for key, value in found.items()}
    if len(samples) < len(found):
        raise RuleError("vector contains metrics with the same labelset after applying rule labels")
    if group.limit and len(samples) > group.limit:
        raise RuleError(f"exceeded limit of {group.limit} with {len(samples)} series")
    return samples.items()


def _key(labels: Labels, more: Mapping[str, str]) -> Labels:
    return tuple(sorted((name, text) for name, text in {**dict(labels), **more}.items() if text))
