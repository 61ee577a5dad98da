"""The summary that docs/summary.md shows is the one that comes of such a day."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests.docs.commands import CHECKOUT
from tests.support.summary_example import SummaryExample
from watchdog.config.summary import Summary

PAGE = (CHECKOUT / "docs" / "summary.md").read_text()


def test_the_summary_that_is_shown_is_what_is_told(tmp_path: Path) -> None:
    example = SummaryExample(tmp_path)
    example.tell_night()
    example.tell_samples()
    (shown,) = re.findall(r"^```text\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)

    assert shown == example.text()


def test_each_key_of_it_has_a_row_and_the_example_is_one() -> None:
    (shown,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert Summary.model_validate(yaml.safe_load(shown)["summary"], strict=False).daily is not None

    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert set(Summary.model_fields) <= rows
