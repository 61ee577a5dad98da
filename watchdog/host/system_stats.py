"""What the kernel says of this machine, for the source `host`."""

from __future__ import annotations

import os
from typing import Any

import psutil

from watchdog.core.errors import SourceError
from watchdog.core.protocols import SourceCache


def host_metrics(cache: SourceCache) -> dict[str, float]:
    """Processor, load and memory. Cache: the processor's seconds of the read before. Raises SourceError."""
    try:
        return {**_cpu_metrics(cache), **_memory_metrics(), "host_boot_time_seconds": float(psutil.boot_time())}
    except (psutil.Error, OSError, ValueError, KeyError) as fault:
        raise SourceError(f"the kernel's figures cannot be read ({fault}) — is /proc mounted?") from None


def _cpu_metrics(cache: SourceCache) -> dict[str, float]:
    times: Any = psutil.cpu_times()
    # The kernel counts a guest's time within user and nice as well: adding every column would count it twice.
    spent = {name: value for name, value in times._asdict().items() if name not in ("guest", "guest_nice")}
    total = sum(spent.values())
    busy = total - spent["idle"] - spent.get("iowait", 0.0)
    load = os.getloadavg()
    values = {"host_load1": load[0], "host_load5": load[1], "host_load15": load[2]}
    values["host_cpu_count"] = float(psutil.cpu_count() or 1)
    before = cache.get("cpu")
    cache["cpu"] = (busy, total)
    if before is not None and total > before[1]:
        # idle may step back by a tick on some kernels
        values["host_cpu_ratio"] = min(1.0, max(0.0, (busy - before[0]) / (total - before[1])))
    return values


def _memory_metrics() -> dict[str, float]:
    memory = psutil.virtual_memory()
    return {
        "host_memory_total_bytes": float(memory.total),
        "host_memory_available_bytes": float(memory.available),
        "host_memory_used_ratio": 1 - memory.available / memory.total,
    }


def disk_metrics(path: str) -> dict[str, float]:
    """A disk that is gone is a fact like a process that is gone; the other disks are still worth reading."""
    try:
        usage = psutil.disk_usage(path)
    except OSError:
        return {"host_disk_up": 0.0}
    values = {"host_disk_up": 1.0, "host_disk_total_bytes": float(usage.total)}
    values["host_disk_free_bytes"] = float(usage.free)
    if usage.total:  # /proc and the like have no size
        values["host_disk_free_ratio"] = usage.free / usage.total
    return values
