"""A machine of its own for one story: systemd as PID 1, the shipped unit files, polkit, and this checkout as it is installed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
SANDBOX_SCRIPT = Path(__file__).with_name("sandbox.sh")
UNIT_FILES = CHECKOUT / "systemd"

_PROBE = """\
mount -t tmpfs tmpfs /mnt && mkdir /mnt/up /mnt/work /mnt/root &&
exec mount -t overlay -o lowerdir=/,upperdir=/mnt/up,workdir=/mnt/work overlay /mnt/root"""

# The unit files say /opt/trading-watchdog: what is installed there is this checkout, with the packages of who runs the tests.
# Other users than root must get at it: not where it lies outside, which may be root's home, and the way to Python is opened.
_INSTALL = """\
set -e
way={base}
while way=$(dirname "$way"); [ "$way" != / ]; do chmod a+x "$way"; done
{python} -m venv --without-pip /opt/trading-watchdog
printf '/opt/checkout\\n/opt/packages\\n' >/opt/trading-watchdog/lib/python{version}/site-packages/checkout.pth
printf '#!/bin/sh\\nexec /opt/trading-watchdog/bin/python -m watchdog "$@"\\n' >/opt/trading-watchdog/bin/trading-watchdog
chmod 755 /opt/trading-watchdog/bin/trading-watchdog
rm -rf /etc/trading-watchdog /var/lib/trading-watchdog  # should there be one outside; this is the box's own overlay
mkdir -p /etc/sysusers.d /etc/trading-watchdog
cp /opt/checkout/systemd/trading-watchdog.sysusers /etc/sysusers.d/trading-watchdog.conf
systemd-sysusers
mount -t tmpfs -o mode=755 tmpfs /srv  # on the overlay, a folder and its files lie on two devices
useradd --create-home --shell /bin/sh botuser
exec /opt/trading-watchdog/bin/python -B -m tests.systemd.{module} {story}
"""


def sandbox_unavailable() -> str | None:
    """What is missing for a box, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/lib/systemd/systemd").exists() or shutil.which("unshare") is None:
        return "needs systemd and util-linux"
    if shutil.which("dbus-daemon") is None or not Path("/usr/lib/polkit-1/polkitd").exists():
        return "needs dbus and polkitd"
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
    """Begins to tell its story at once; `wait_for_results` waits for its end."""

    def __init__(self, story: str, folder: Path, module: str = "scenarios") -> None:
        for pattern in ("*.service", "*.socket", "*.timer"):
            for path in UNIT_FILES.glob(pattern):
                shutil.copy(path, folder)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        shown = {CHECKOUT: "/opt/checkout", Path(sysconfig.get_path("purelib")): "/opt/packages"}
        base = Path(sys.base_prefix)
        if base != Path("/usr"):
            shown[base] = str(base)
        known = {"python": base / "bin" / f"python{version}", "version": version, "module": module, "story": story}
        (folder / "run.sh").write_text(_INSTALL.format(base=base, **known))
        binds = [word for path, there in shown.items() for word in ("-b", f"{path}:{there}")]
        self._output = folder.with_suffix(".log")
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                ["bash", SANDBOX_SCRIPT, "-d", "-t", "300", *binds, folder, "run.sh"],
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


@contextlib.contextmanager
def all_at_once(
    stories: Sequence[str], factory: pytest.TempPathFactory, module: str = "scenarios"
) -> Iterator[dict[str, SystemdSandbox]]:
    """One box for each story, of this file of scenarios: they mostly wait. Skips where there is no systemd to boot."""
    if missing := sandbox_unavailable():
        pytest.skip(missing)
    started = {story: SystemdSandbox(story, factory.mktemp(story), module) for story in stories}
    yield started
    for box in started.values():
        box.close()
