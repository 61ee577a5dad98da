"""What watchdog.yaml says of reminders."""

from __future__ import annotations

import pytest

from tests.config.conftest import MAIN_YAML, WriteConfig
from watchdog import config


@pytest.mark.parametrize(
    ("said", "pause"),
    [("", 3_600_000), ("remind:", 3_600_000), ("remind: 30m", 1_800_000), ("remind: off", None)],
)
def test_people_are_reminded_after_an_hour_unless_the_file_says_otherwise(
    write_config: WriteConfig, said: str, pause: int | None
) -> None:
    found = config.load(write_config({"watchdog.yaml": MAIN_YAML + said + "\n"}), environ={})

    assert found.remind == pause


def test_another_reminder_is_another_configuration(write_config: WriteConfig) -> None:
    plain = config.load(write_config({}), environ={}).fingerprint
    off = config.load(write_config({"watchdog.yaml": MAIN_YAML + "remind: off\n"}), environ={}).fingerprint

    assert plain != off
