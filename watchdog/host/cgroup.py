"""What a process may use at most: the limits of its control group, and of all those that it lies in.

Where control groups are is read from our own table of mounts, and where a process is in them from `/proc/PID/cgroup`: so it is
found in a container as well, as far as it can be seen from where we are. What cannot be seen is absent, and so is a limit
that nobody has set. Version 2 and, with the same meaning, version 1.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

MOUNTS = Path("/proc/self/mountinfo")
_MAX_DEPTH = 64
"""Control groups above one that are looked at."""
_MAX_BYTES = 64 * 1024
_MAX_MOUNT_BYTES = 4 * 2**20
_UNLIMITED = 2**62
"""Version 1 writes the largest number of pages that it knows."""
_MOUNT = re.compile(r"\S+ \S+ \S+ (\S+) (\S+) .* - (cgroup2?) \S+ (\S+)")
_SYSTEM_SERVICE = re.compile(
    r"^(?:0:|[0-9]+:name=systemd):/system\.slice/(?:[^/\n]+\.slice/)*([^/\n]+\.service)(?:/|$)", re.MULTILINE
)
_OCTAL = re.compile(r"\\([0-7]{3})")


def process_limits(pid: int, proc: Path) -> dict[str, float]:
    """What limits that process, and how near it is to it. `proc`: where /proc is."""
    try:
        places = _read(proc / str(pid) / "cgroup")
        mounts = _read_mounts()
    except OSError:
        return {}
    found: dict[str, float] = {}
    for controller, read_version_1, read_version_2 in (
        ("memory", _memory_of_version_1, _memory_of_version_2),
        ("cpu", _cpu_of_version_1, _cpu_of_version_2),
    ):
        place = _find(controller, places, mounts)
        if place is not None and (folders := _folders(*place)):
            found |= (read_version_2 if place[0].cgroup2 else read_version_1)(folders)
    return found


def unit_of_process(pid: int) -> str | None:
    """The systemd service that it lies in; None: in none of the system's, as in a session of a user's."""
    try:
        places = _read(Path("/proc", str(pid), "cgroup"))
    except OSError:
        return None
    match = _SYSTEM_SERVICE.search(places)
    return None if match is None else match[1]


class _Mount(NamedTuple):
    root: str
    """Which control group lies at its top, as `/proc/PID/cgroup` calls it."""
    folder: str
    cgroup2: bool
    options: frozenset[str]
    """With the controllers, in version 1."""


def _read(path: Path, most: int = _MAX_BYTES) -> str:
    with path.open("rb") as file:
        return file.read(most).decode("utf-8", "replace")


def _read_mounts() -> list[_Mount]:
    mounts = []
    for line in _read(MOUNTS, _MAX_MOUNT_BYTES).split("\n"):
        if " - cgroup" in line and (match := _MOUNT.fullmatch(line)) is not None:
            root, folder = (_OCTAL.sub(lambda code: chr(int(code[1], 8)), match[part]) for part in (1, 2))
            mounts.append(_Mount(root, folder, match[3] == "cgroup2", frozenset(match[4].split(","))))
    return mounts


def _find(controller: str, places: str, mounts: list[_Mount]) -> tuple[_Mount, str] | None:
    """In which hierarchy a process is held by that controller, and where in it. Where it is in version 1, that is the one
    that counts: version 2 beside it has none of its controllers."""
    of_version_1 = {name for mount in mounts if not mount.cgroup2 for name in mount.options}
    for line in places.split("\n"):
        _, _, rest = line.partition(":")
        names, colon, path = rest.partition(":")
        if not colon or (controller not in names.split(",") if names else controller in of_version_1):
            continue
        for mount in mounts:
            if mount.cgroup2 is (not names) and (mount.cgroup2 or controller in mount.options):
                return mount, path
    return None


def _folders(mount: _Mount, path: str) -> list[Path]:
    """Of that control group and those above it, up to the mount's top; none when it lies outside of what is mounted."""
    root = mount.root.rstrip("/")
    if path != root and not path.startswith(f"{root}/"):
        return []
    parts = PurePosixPath(path.removeprefix(root).lstrip("/")).parts
    if ".." in parts:  # in another namespace's part of the tree
        return []
    here = Path(mount.folder, *parts)
    return [here, *here.parents[: len(parts)]][:_MAX_DEPTH]


def _number(folder: Path, name: str) -> float | None:
    """None: there is no such file, it may not be read, or it holds no number: ``max``."""
    try:
        text = _read(folder / name).strip()
    except OSError:
        return None
    return float(text) if re.fullmatch(r"[0-9]{1,20}", text) else None


def _entry(folder: Path, name: str, key: str) -> float | None:
    """The number behind a word of a file with lines of such pairs."""
    try:
        lines = _read(folder / name).split("\n")
    except OSError:
        return None
    for line in lines:
        word, _, number = line.partition(" ")
        if word == key and re.fullmatch(r"[0-9]{1,20}", number):
            return float(number)
    return None


def _memory(folders: list[Path], limit: str, used: str, cache: str, kills: tuple[str, str]) -> dict[str, float]:
    """`limit` and `used`: files; `cache`: what in `memory.stat` is given back first when memory is short."""
    found: dict[str, float] = {}
    limits, ratios = [], []
    for folder in folders:
        most = _number(folder, limit)
        if most is None or most >= _UNLIMITED:
            continue
        limits.append(most)
        held, returnable = _number(folder, used), _entry(folder, "memory.stat", cache)
        if most > 0 and held is not None and returnable is not None:
            ratios.append(max(0.0, held - returnable) / most)
    if limits:
        found["process_memory_limit_bytes"] = min(limits)
    if ratios:
        found["process_memory_limit_ratio"] = max(ratios)
    if (killed := _entry(folders[0], *kills)) is not None:
        found["process_oom_kills_total"] = killed
    return found


def _memory_of_version_2(folders: list[Path]) -> dict[str, float]:
    return _memory(folders, "memory.max", "memory.current", "inactive_file", ("memory.events", "oom_kill"))


def _memory_of_version_1(folders: list[Path]) -> dict[str, float]:
    files = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    return _memory(folders, *files, "total_inactive_file", ("memory.oom_control", "oom_kill"))


def _cpu_of_version_2(folders: list[Path]) -> dict[str, float]:
    cores = []
    for folder in folders:
        try:
            match = re.fullmatch(r"([0-9]{1,15}) ([0-9]{1,15})\n?", _read(folder / "cpu.max"))
        except OSError:
            continue
        if match is not None and int(match[2]):  # not ``max 100000``
            cores.append(int(match[1]) / int(match[2]))
    return {"process_cpu_limit_cores": min(cores)} if cores else {}


def _cpu_of_version_1(folders: list[Path]) -> dict[str, float]:
    cores = []
    for folder in folders:
        quota, period = _number(folder, "cpu.cfs_quota_us"), _number(folder, "cpu.cfs_period_us")
        if quota is not None and period:  # -1: as much as there is
            cores.append(quota / period)
    return {"process_cpu_limit_cores": min(cores)} if cores else {}
