"""Where samples come from. The union is the registry: a new source is one file and one word here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from watchdog.sources.host import HostSource
from watchdog.sources.http_client import HttpSource
from watchdog.sources.json_file import JsonFileSource
from watchdog.sources.process import ProcessSource
from watchdog.sources.scrape import ScrapeSource
from watchdog.sources.systemd import SystemdSource

AnySource = Annotated[
    HostSource | HttpSource | JsonFileSource | ProcessSource | ScrapeSource | SystemdSource,
    Field(discriminator="type"),
]

__all__ = [
    "AnySource",
    "HostSource",
    "HttpSource",
    "JsonFileSource",
    "ProcessSource",
    "ScrapeSource",
    "SystemdSource",
]
