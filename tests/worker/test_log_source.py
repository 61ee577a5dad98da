"""A bot's log is read by the bot's own user, held to the folder of it."""

from __future__ import annotations

import pytest

from tests.worker.conftest import World
from watchdog.core.errors import SourceError
from watchdog.core.executor import owner_executor
from watchdog.sources import LogSource

NOW = 1_796_119_200_000


def source_of(path: object) -> LogSource:
    values = {"errors_total": {"count": "ERROR"}, "equity": {"last": "equity=(?P<value>[0-9.]+)"}}
    return LogSource.model_validate(
        {"type": "log", "files": str(path), "time": "^(?P<time>[0-9TZ:-]+) ", "values": values, "event_start": "^"}
    )


@pytest.mark.slow
def test_a_log_that_only_its_owner_may_read_is_read_and_explained(world: World) -> None:
    log = world.write("bot.log", "2026-12-01T09:00:00Z equity=5\n", mode=0o600)
    source, state, cache = source_of(world.bot / "bot*.log"), {}, {}  # type: ignore[var-annotated]
    token = owner_executor.set(world.executor)
    try:
        first = {name: v for name, _, _, v in source.read(state, cache, NOW)}
        with log.open("a") as writer:
            writer.write("2026-12-01T09:59:00Z ERROR a\n")
        log.rename(world.bot / "bot.log.1")
        world.write("bot.log", "2026-12-01T09:59:01Z ERROR b equity=4\n", mode=0o600)
        second = {name: (v, t) for name, _, t, v in source.read(state, cache, NOW + 1_000)}
        matches = source.explain(NOW)
    finally:
        owner_executor.reset(token)

    assert (first["errors_total"], first["equity"]) == (0.0, 5.0)
    assert second["errors_total"] == (2.0, NOW + 1_000)
    assert second["equity"] == (4.0, NOW - 59_000)
    assert [match.found[0] for match in matches if match.key == "values.equity.last"] == ["equity=4"]


@pytest.mark.slow
def test_a_link_out_of_its_folder_is_not_followed(world: World) -> None:
    secret = world.outside / "secret.log"
    secret.write_text("ERROR\n")
    (world.bot / "bot.log").symlink_to(secret)
    token = owner_executor.set(world.executor)
    try:
        with pytest.raises(SourceError, match=" — "):
            source_of(world.bot / "bot.log").read({}, {}, NOW)
    finally:
        owner_executor.reset(token)
