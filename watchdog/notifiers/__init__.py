"""Where people are told. The union is the registry: a new channel is one file and one word here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from watchdog.notifiers.slack import Slack
from watchdog.notifiers.telegram import Telegram

Channel = Annotated[Slack | Telegram, Field(discriminator="type")]

__all__ = ["Channel", "Slack", "Telegram"]
