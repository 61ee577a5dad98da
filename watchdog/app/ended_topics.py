"""What people were told that is bad, and that is over by a start or a reload."""

from __future__ import annotations

from collections.abc import Sequence

from watchdog.config import Config
from watchdog.core.model import Message, NotifyFunction
from watchdog.documents.problems import Problem
from watchdog.journal.storage import Journal
from watchdog.journal.topics import BROKER, CONFIGURATION, channel_of, failing_of, listening_of
from watchdog.worker import launch


def tell_ended(
    journal: Journal, config: Config, problems: Sequence[Problem], notify: NotifyFunction, *, is_start: bool = False
) -> None:
    """Tells whoever was told that it is bad. `problems`: why the files on disk are not in force; none: they are."""
    for topic in journal.messages.list_open_topics():
        channel, title = channel_of(topic), None
        if topic == CONFIGURATION and not problems:
            title = "Configuration loaded: the files are in force again"
        elif topic == BROKER and launch.describe_problem() is None:
            title = "what acts as root is there again"
        elif channel is not None and channel not in config.channels:
            title = f"channel {channel}, which did not deliver, is no longer configured"
        elif (heard := listening_of(topic)) is not None and (is_start or heard not in config.channels):
            title = f"channel {heard}: whether people's answers are heard is looked at anew"
        elif is_start and (what := failing_of(topic)) is not None:  # told anew should it fail again
            title = f"the watchdog was started anew, whose {what} failed each time"
        if title is not None:
            notify(Message("info", title, ends=(topic,)))
