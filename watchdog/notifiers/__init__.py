"""Where people are told. The union is the registry: a new channel is one file and one word here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from watchdog.notifiers.slack import SlackNotifier
from watchdog.notifiers.telegram import TelegramNotifier

AnyNotifier = Annotated[SlackNotifier | TelegramNotifier, Field(discriminator="type")]

__all__ = ["AnyNotifier", "SlackNotifier", "TelegramNotifier"]
