"""Label sets that are gone because others have come in their place: a rollback brings another `version`, a restart another `pid`.

The labels of what tripped are then not to be seen again, and what stands in their place is judged instead. Only what has *come*
says anything: a label set that was there all along says nothing of one that is gone. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from watchdog.core.model import Labels, Verdict
from watchdog.rules.compile import Check
from watchdog.rules.state_machine import MachineState, Transition
from watchdog.rules.summary import format_labels
from watchdog.tsdb.labels import SOURCE_LABEL

_IDENTITY_LABELS = frozenset(
    {
        *("version", "release", "revision", "commit", "sha", "git_sha", "build", "build_id", "digest"),
        *("image", "image_id", "image_tag", "container_id", "pod", "pod_name", "pod_uid", "replica", "replica_id"),
        *("pid", "process_id", "instance", "instance_id", "hostname", "session", "session_id", "run_id", "boot_id"),
        *("start_time", "started_at"),
    }
)
_MARKET_LABELS = frozenset(
    {
        *("pair", "symbol", "market", "instrument", "ticker", "contract", "coin", "token", "asset", "currency", "base"),
        *("quote", "exchange", "venue", "broker", "account", "subaccount", "wallet", "portfolio", "strategy", "side"),
        *("direction", "position", "order", "trade", "timeframe", "interval"),
    }
)
_IDENTITY_ENDINGS = ("_version", "_release", "_revision", "_commit", "_sha", "_build", "_pid", "_pod", "_hostname")
_MAX_KEPT = 128
"""Label sets that are remembered beside one that tripped: they stand in the journal, once for each of them."""

Siblings = Collection[Labels]
"""The label sets that had a value beside another one."""


def is_identity_label(name: str) -> bool:
    """Whether a label of that name mostly says which process, or which version of it, and so changes with a deployment."""
    name = name.lower().removeprefix("exported_")
    return name in _IDENTITY_LABELS or name.endswith(_IDENTITY_ENDINGS)


def is_market_label(name: str) -> bool:
    """Whether a label of that name mostly says what is traded, where or how: what has come is then something else."""
    name = name.lower().removeprefix("exported_")
    name = name.removesuffix("_id").removesuffix("_name").removesuffix("s")
    return name in _MARKET_LABELS or name.rpartition("_")[2] in _MARKET_LABELS  # base_currency, trading_pair


def label_sets(check: Check, values: Iterable[Labels]) -> tuple[Labels, ...]:
    """What a reading's series are to the check: the labels that tell its states apart."""
    if check.each is None:
        return tuple(values)
    each = check.each
    return tuple(dict.fromkeys(tuple(pair for pair in labels if pair[0] in each) for labels in values))


def note_siblings(
    machine: MachineState, changes: Iterable[Transition], present: tuple[Labels, ...] | None
) -> MachineState:
    """What has just tripped remembers what was there beside it; `present` None: nobody knows."""
    if not any(change.kind == "tripped" for change in changes):
        return machine
    kept = None if present is None or len(present) > _MAX_KEPT else present
    return replace(machine, siblings=kept)


def judge_replaced(verdicts: Sequence[Verdict], siblings_of: Callable[[Labels], Siblings | None]) -> Sequence[Verdict]:
    """The verdicts of one threshold, where one that is gone is judged by what has come in its place.

    `siblings_of`: what had a value when it tripped, or when the repair began; None: not asked, or not known. It is well when all
    that is new since then is well and some of that differs from it in nothing but who it is; not well while that is not. Where
    nothing has come, and where what has come has no value, it stays without one.
    """
    gone = [verdict for verdict in verdicts if verdict.gone and verdict.outcome == "nodata"]
    asked = {verdict.labels: siblings for verdict in gone if (siblings := siblings_of(verdict.labels)) is not None}
    if not asked:
        return verdicts
    present = [verdict for verdict in verdicts if not verdict.gone]
    return [
        _judge_one(verdict, asked[verdict.labels], present) if verdict.gone and verdict.labels in asked else verdict
        for verdict in verdicts
    ]


def _judge_one(gone: Verdict, siblings: Siblings, present: Sequence[Verdict]) -> Verdict:
    before = {*siblings, gone.labels}
    come = [verdict for verdict in present if verdict.labels not in before]
    instead = [verdict for verdict in come if _stands_for(verdict.labels, gone.labels, before, present)]
    if not instead or any(verdict.outcome in ("nodata", "error") for verdict in come):
        return gone
    unwell = min((verdict for verdict in come if not verdict.cleared), key=_labels_of, default=None)
    shown = unwell or min(instead, key=_labels_of)
    reason = f"{format_labels(dict(gone.labels))} is gone; since then {_name(shown.labels)} has come: {shown.reason}"
    return gone._replace(
        outcome="ok",
        reason=reason,
        value=shown.value,
        limit=shown.limit,
        cleared=unwell is None,
        evidence=min(verdict.evidence for verdict in come),
        max_age=shown.max_age,
    )


def _stands_for(labels: Labels, gone: Labels, before: Collection[Labels], present: Sequence[Verdict]) -> bool:
    """Whether the two differ only in labels that say who it is: by their names, or since none of their values is there any more."""
    mine, other = dict(labels), dict(gone)
    for name in mine.keys() | other.keys():
        if mine.get(name) == other.get(name):
            continue
        if name == SOURCE_LABEL:  # another source says nothing of one that may be dead
            return False
        if not is_identity_label(name):
            if is_market_label(name):  # a pair that was delisted is not well since another one came
                return False
            values = {dict(each).get(name) for each in before}
            if any(dict(verdict.labels).get(name) in values for verdict in present):
                return False
    return True


def _labels_of(verdict: Verdict) -> Labels:
    return verdict.labels


def _name(labels: Labels) -> str:
    return format_labels(dict(labels)) or "one without labels"
