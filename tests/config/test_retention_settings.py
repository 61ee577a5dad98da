"""What watchdog.yaml says of the past."""

from __future__ import annotations

import pytest

from tests.config.conftest import MAIN_YAML, WriteConfig
from watchdog import config
from watchdog.config.models import History

D = 86_400_000


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("", History(raw=30 * D, coarse=730 * D)),
        ("history:", History()),
        ("history: off", None),
        ("history: {raw: 7d}", History(raw=7 * D)),
        ("history: {raw: 1d, coarse: 1y, max: 500MiB}", History(raw=D, coarse=365 * D, max="500MiB")),  # type: ignore[arg-type]
    ],
)
def test_the_past_is_kept_as_the_file_says_or_for_a_month_whole_and_two_years_coarse(
    write_config: WriteConfig, said: str, kept: History | None
) -> None:
    found = config.load(write_config({"watchdog.yaml": MAIN_YAML + said + "\n"}), environ={})

    assert found.history == kept


def test_a_changed_history_is_a_changed_configuration(write_config: WriteConfig) -> None:
    plain = config.load(write_config({}), environ={}).fingerprint
    said = config.load(write_config({"watchdog.yaml": MAIN_YAML + "history: {raw: 30d}\n"}), environ={}).fingerprint
    off = config.load(write_config({"watchdog.yaml": MAIN_YAML + "history: off\n"}), environ={}).fingerprint

    assert plain == said
    assert plain != off
