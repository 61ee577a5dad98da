"""What people are told the end of, by name. A channel that was told of one is told how it ended (`Message.opens`, `ends`)."""

from __future__ import annotations

BLIND = "blind"
CONFIGURATION = "configuration"
TAKEN_AWAY = "taken away"
"""What was watched ahead of a start and is in no file since."""
DISK = "disk"
BROKER = "broker"
_INCIDENT = "incident "
_LISTENING = "answers on "


def incident_topic(incident: int) -> str:
    return f"{_INCIDENT}{incident}"


def incident_of(topic: str) -> int | None:
    """Which incident a topic is about; None: it is about something else."""
    number = topic.removeprefix(_INCIDENT)
    return int(number) if number != topic and number.isdecimal() else None


def escalation_topic(incident: int) -> str:
    """That nobody has acknowledged it."""
    return f"escalation of incident {incident}"


def plan_topic(target: str, plan: str) -> str:
    """That a plan is at work, or waits for somebody."""
    return f"plan {plan} of {target}"


def refusal_topic(target: str, plan: str) -> str:
    """That a plan is wanted and not started."""
    return f"refusal of {plan} of {target}"


def approval_topic(run: int) -> str:
    return f"approval of run {run}"


def latch_topic(target: str) -> str:
    return f"latch of {target}"


def held_topic(target: str) -> str:
    """That what its latch holds is no longer so."""
    return f"what the latch of {target} holds"


def suppression_topic(kind: str, subject: str) -> str:
    """A hold on a target, a silence of a rule."""
    return f"{kind} of {subject}"


_SOURCE, _CHANNEL, _FLAPS, _FAILS = "source ", "channel ", "flaps of ", "failing "


def source_topic(source: str) -> str:
    """That it is cut."""
    return f"{_SOURCE}{source}"


def flaps_topic(source: str) -> str:
    """That it fails and delivers in turn."""
    return f"{_FLAPS}{source}"


def channel_topic(channel: str) -> str:
    """That it does not deliver."""
    return f"{_CHANNEL}{channel}"


def listening_topic(channel: str) -> str:
    """That what people answer there is not heard."""
    return f"{_LISTENING}{channel}"


def failing_topic(what: str) -> str:
    """That a periodic part of the watchdog itself fails each time."""
    return f"{_FAILS}{what}"


def source_of(topic: str) -> str | None:
    """Which source a topic is about; None: it is about something else."""
    return topic.removeprefix(_SOURCE) if topic.startswith(_SOURCE) else None


def source_that_flaps(topic: str) -> str | None:
    """Which source flaps; None: the topic is about something else."""
    return topic.removeprefix(_FLAPS) if topic.startswith(_FLAPS) else None


def channel_of(topic: str) -> str | None:
    return topic.removeprefix(_CHANNEL) if topic.startswith(_CHANNEL) else None


def listening_of(topic: str) -> str | None:
    """Which channel is not heard; None: the topic is about something else."""
    return topic.removeprefix(_LISTENING) if topic.startswith(_LISTENING) else None


def failing_of(topic: str) -> str | None:
    """Which part of the watchdog fails; None: the topic is about something else."""
    return topic.removeprefix(_FAILS) if topic.startswith(_FAILS) else None
