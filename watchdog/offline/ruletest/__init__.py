"""Unit tests of rules: promtool's own files, and ours beside them.

```
file ─read→ tests ─run→ cases: one for each expectation
```
`notation` reads series and values, `test_definition` the test file; `sample_feed`
holds the samples, `prometheus_evaluator` does with them what Prometheus does, and `watchdog_evaluator` what the daemon does.
"""

from __future__ import annotations

from watchdog.offline.ruletest.runner import CaseResult, run_tests
from watchdog.offline.ruletest.test_definition import TestFile, load_test_file

__all__ = ["CaseResult", "TestFile", "load_test_file", "run_tests"]
