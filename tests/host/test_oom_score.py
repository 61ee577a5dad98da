"""When memory runs out the watchdog is spared; what it starts is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
from watchdog.host import child_process
Path("/proc/self/oom_score_adj").write_text("-500")
print(child_process.run(["sh", "-c", "read go; cat /proc/self/oom_score_adj"], input=b"go\\n", timeout_ms=20_000).stdout)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be spared")
def test_a_child_is_not_spared_as_the_watchdog_is() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    if "Permission" in done.stderr:
        pytest.skip("this machine lets nobody be spared")
    assert done.stdout.strip() == "0", done.stderr
    assert not Path("/proc/self/oom_score_adj").read_text().startswith("-5")
