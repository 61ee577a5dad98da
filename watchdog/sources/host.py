"""The machine that the bot and the watchdog run on."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import field_validator

from watchdog.core.model import FrozenList, Labels, Millis, Sample
from watchdog.core.protocols import SourceCache, SourceState
from watchdog.sources.interval import READ_DEADLINE_MS, Interval
from watchdog.sources.source_model import SourceModel


class HostSource(SourceModel):
    """Processor, memory, load and disks of this machine."""

    reads_needed: ClassVar[int] = 2
    deadline: ClassVar[Millis] = READ_DEADLINE_MS
    identity: ClassVar[str] = "host"

    type: Literal["host"]
    every: Interval = 5_000
    """Time from one read to the next."""
    disks: FrozenList[str] = ("/",)
    """Absolute paths; each stands for the file system that holds it."""

    @field_validator("disks")
    @classmethod
    def _validate_disks(cls, disks: tuple[str, ...]) -> tuple[str, ...]:
        if any(not disk.startswith("/") for disk in disks):
            raise ValueError("a disk is named by an absolute path, such as / or /var/lib")
        if len(set(disks)) < len(disks):
            raise ValueError("a disk stands in the list twice")
        return disks

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:  # noqa: ARG002
        """All of it; a disk that cannot be read says ``host_disk_up 0`` and nothing else. Cache: the processor's seconds."""
        from watchdog.host.system_stats import disk_metrics, host_metrics  # psutil's 2 MB: paid when it is read

        found = [Sample(name, (), now, value) for name, value in host_metrics(cache).items()]
        for disk in self.disks:
            labels: Labels = (("disk", disk),)
            found += [Sample(name, labels, now, value) for name, value in disk_metrics(disk).items()]
        return found
