"""What channels of messages have in common: what is told there, how much of it, and when."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from watchdog.core.hours import Hours
from watchdog.core.model import ConnectionModel, Severity
from watchdog.core.target import Budget, parse_budget_text


def _parse_message_limit(value: object) -> object:
    if isinstance(value, str):
        return parse_budget_text(value, "a limit of messages")
    if value is None or isinstance(value, Budget):
        return value
    raise ValueError(f"a limit of messages reads like 10 per 1h, not {value!r}")


class Quiet(Hours):
    """Hours in which only what is critical is told. The rest is told at their end, in one message."""

    called: ClassVar[str] = "quiet"

    @model_validator(mode="before")
    @classmethod
    def _join_between(cls, value: object) -> object:
        """``[22:00, 07:00]`` is ``22:00-07:00``."""
        if not isinstance(value, dict):
            return value
        pair = value.get("between")
        if isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(one, str) for one in pair):
            return {**value, "between": "-".join(pair)}
        return value

    @model_validator(mode="after")
    def _ends(self) -> Quiet:
        if self.end_after(0) is None:
            raise ValueError("these quiet hours never end — say from: crit to be told of nothing else")
        return self


class Channel(ConnectionModel):
    """Base of all channels."""

    from_: Severity = Field("warn", alias="from")
    """The lowest severity that is told here: info, warn or crit."""
    standby: bool = False
    """`true`: told only of what names it, in `notify` of a rule or a target or in `escalate`."""


class MessageChannel(Channel):
    """Base of those to which messages are told, and not states: too many, or one at night, are too much."""

    limit: Annotated[Budget | None, BeforeValidator(_parse_message_limit)] = None
    """How many messages in what time, `10 per 1h`; what goes beyond is one message once there is room again. What is critical, and
    its end, is told at once and counts for nothing."""
    quiet: Quiet | None = None
    """Hours in which only what is critical is told: `{between: "22:00-07:00", timezone: Europe/Berlin}`."""
