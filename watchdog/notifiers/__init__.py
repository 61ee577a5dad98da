"""Where people are told. The union is the registry: a new channel is one file and one word here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from watchdog.notifiers.alertmanager import AlertmanagerNotifier
from watchdog.notifiers.apprise import AppriseNotifier
from watchdog.notifiers.slack import SlackNotifier
from watchdog.notifiers.telegram import TelegramNotifier

AnyNotifier = Annotated[
    AlertmanagerNotifier | AppriseNotifier | SlackNotifier | TelegramNotifier, Field(discriminator="type")
]

__all__ = ["AlertmanagerNotifier", "AnyNotifier", "AppriseNotifier", "SlackNotifier", "TelegramNotifier"]
