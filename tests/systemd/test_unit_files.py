"""The shipped unit files, as far as that needs no booted systemd."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests.systemd.sandbox import UNIT_FILES

pytestmark = pytest.mark.quick

MAX_EXPOSURE = 2.0
"""As `systemd-analyze security` counts it: 0 is locked away, 10 may do anything."""


@pytest.mark.parametrize("name", ["trading-watchdog.service", "trading-watchdog-drill@.service"])
def test_a_service_that_reads_what_others_write_may_do_little(name: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    asked = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT_FILES / name)]
    ran = subprocess.run(asked, capture_output=True, text=True, check=False)
    if "unrecognized option" in ran.stderr:
        pytest.skip("needs systemd-analyze with --offline (systemd 250)")

    found = re.search(r"Overall exposure level for \S+: (\d+\.\d)", ran.stdout)
    assert found is not None, ran.stdout + ran.stderr
    assert float(found[1]) <= MAX_EXPOSURE, ran.stdout


def test_nothing_that_ships_runs_as_root_but_what_masks() -> None:
    services = sorted(UNIT_FILES.glob("*.service"))
    users = {path.name: re.findall(r"^User=(.*)$", path.read_text(), re.MULTILINE) for path in services}

    assert users == {
        "trading-watchdog-drill@.service": ["trading-watchdog"],
        "trading-watchdog-mask@.service": [],
        "trading-watchdog-worker@.service": ["%i"],
        "trading-watchdog.service": ["trading-watchdog"],
    }


def test_a_drill_may_do_no_more_than_the_watchdog() -> None:
    def confinement(name: str) -> set[str]:
        lines = (UNIT_FILES / name).read_text().partition("NoNewPrivileges=")[2].splitlines()[1:]
        return {line for line in lines if re.match(r"[A-Z]\w+=", line) and not line.startswith("WantedBy=")}

    assert confinement("trading-watchdog-drill@.service") == confinement("trading-watchdog.service")
