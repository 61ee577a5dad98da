"""Where samples come from. The union is the registry: a new source is one file and one word here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from watchdog.sources.host import Host
from watchdog.sources.process import Process
from watchdog.sources.scrape import Scrape

Source = Annotated[Scrape | Process | Host, Field(discriminator="type")]

__all__ = ["Host", "Process", "Scrape", "Source"]
