"""A machine of its own for one story: systemd as PID 1, the shipped unit file, and this checkout."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
SANDBOX_SCRIPT = Path(__file__).with_name("sandbox.sh")
UNIT_FILE = CHECKOUT / "systemd" / "trading-watchdog.service"

_PROBE = """\
mount -t tmpfs tmpfs /mnt && mkdir /mnt/up /mnt/work /mnt/root &&
exec mount -t overlay -o lowerdir=/,upperdir=/mnt/up,workdir=/mnt/work overlay /mnt/root"""

_DROP_IN = """\
[Service]
ExecStart=
ExecStart=/usr/bin/env PYTHONPATH={checkout} {python} -m watchdog run --config /etc/trading-watchdog
"""


def sandbox_unavailable() -> str | None:
    """What is missing for a box, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/lib/systemd/systemd").exists() or shutil.which("unshare") is None:
        return "needs systemd and util-linux"
    spaces = ["--fork", "--pid", "--mount", "--uts", "--ipc", "--cgroup", "--net"]
    probe = subprocess.run(["unshare", *spaces, "sh", "-c", _PROBE], capture_output=True, text=True, check=False)
    return f"needs namespaces: {probe.stderr.strip()}" if probe.returncode else None


class ScenarioResults(dict[str, Any]):
    """By name. Asking for one that was not told fails with the end of what the story printed."""

    def __init__(self, printed: str) -> None:
        super().__init__(json.loads(line) for line in printed.splitlines() if line.startswith('["'))
        self._end = "\n".join(printed.splitlines()[-60:])

    def __missing__(self, name: str) -> Any:
        raise AssertionError(f"the story did not come to {name!r}:\n{self._end}")


class SystemdSandbox:
    """Begins to tell its story at once; `data` waits for its end."""

    def __init__(self, scenario: str, folder: Path) -> None:
        drop_in = folder / f"{UNIT_FILE.name}.d" / "checkout.conf"
        drop_in.parent.mkdir()
        drop_in.write_text(_DROP_IN.format(checkout=CHECKOUT, python=sys.executable))
        shutil.copy(UNIT_FILE, folder)
        (folder / "run.sh").write_text(
            f"PYTHONPATH={CHECKOUT} exec {sys.executable} -B -m tests.systemd.scenarios {scenario}\n"
        )
        # A base installation may lie on a file system of its own, which the box does not see by itself.
        shown = {CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)} - {Path("/usr")}
        binds = [word for path in sorted(shown) for word in ("-b", f"{path}:{path}")]
        self._output = folder.with_suffix(".log")
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                ["bash", SANDBOX_SCRIPT, "-t", "300", *binds, folder, "run.sh"],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def wait_for_results(self) -> ScenarioResults:
        """What the story found out, once it has come to its end."""
        self._process.wait(330)
        return ScenarioResults(self._output.read_text(errors="replace"))

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(30)
