"""Where samples come from. The union is the registry: a new source is one file and one word here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from watchdog.sources.command import CommandSource
from watchdog.sources.heartbeat import HeartbeatSource
from watchdog.sources.host import HostSource
from watchdog.sources.http_json import HttpJsonSource
from watchdog.sources.json_file import JsonFileSource
from watchdog.sources.jsonl import JsonlSource
from watchdog.sources.log import LogSource
from watchdog.sources.process import ProcessSource
from watchdog.sources.prometheus import PrometheusSource
from watchdog.sources.push import PushSource
from watchdog.sources.scrape import ScrapeSource
from watchdog.sources.sql import SqlSource
from watchdog.sources.statsd import StatsdSource
from watchdog.sources.systemd import SystemdSource
from watchdog.sources.textfile import TextfileSource

AnySource = Annotated[
    CommandSource
    | HeartbeatSource
    | HostSource
    | HttpJsonSource
    | JsonFileSource
    | JsonlSource
    | LogSource
    | ProcessSource
    | PrometheusSource
    | PushSource
    | ScrapeSource
    | SqlSource
    | StatsdSource
    | SystemdSource
    | TextfileSource,
    Field(discriminator="type"),
]

__all__ = [
    "AnySource",
    "CommandSource",
    "HeartbeatSource",
    "HostSource",
    "HttpJsonSource",
    "JsonFileSource",
    "JsonlSource",
    "LogSource",
    "ProcessSource",
    "PrometheusSource",
    "PushSource",
    "ScrapeSource",
    "SqlSource",
    "StatsdSource",
    "SystemdSource",
    "TextfileSource",
]
