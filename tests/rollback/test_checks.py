"""Proof by a page, by lines of a log, and by rules that did not trip."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.rollback.harness import ERRORS_KEY, VERIFY_OPTIONS, RollbackHarness, flag_step, make_repair, restart
from watchdog.core.offload import ThreadOffload
from watchdog.rules import Patience
from watchdog.rules.state_machine import MachineConfig, StateKey


def repair_verified_by(**verify: Any) -> Any:
    """Two levels, either of which makes the rule well; the first is proven by what is said."""
    return make_repair(
        before=[],
        proven=[],
        levels=[
            {"name": "model", "steps": [flag_step(MODEL=1)], "verify": VERIFY_OPTIONS | verify},
            {"name": "feature", "steps": [flag_step(FEATURE=False)]},
        ],
    )


class BotLog:
    """A log that a bot writes when its configuration is changed."""

    def __init__(self, harness: RollbackHarness) -> None:
        self.path = harness.make_target() / "bot.log"
        self.path.write_text("ERROR of yesterday\nmodel loaded of yesterday\n")

    def write(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(text)


@pytest.fixture
def bot_log(harness: RollbackHarness) -> BotLog:
    return BotLog(harness)


def write_log_before(harness: RollbackHarness, bot_log: BotLog, verb: str, text: str) -> None:
    """Writes a line right ahead of the first call of that verb after the step."""

    def meddle(called: str, _: str) -> None:
        if called == verb and (verb == "apply" or harness.applied_steps):
            bot_log.write(text)
            harness.before_call = lambda *_: None

    harness.before_call = meddle


def test_a_line_that_must_be_absent_and_is_written_after_the_last_step_disproves(
    harness: RollbackHarness, bot_log: BotLog
) -> None:
    harness.plans["ladder"] = repair_verified_by(log={"file": "bot.log", "absent": "ERROR"})
    write_log_before(harness, bot_log, "read_log", "INFO fine\nERROR no model\n")
    number = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(number).level == 1
    assert any("bot.log says: ERROR no model" in row["text"] for row in harness.journal.query("SELECT text FROM event"))


def test_lines_from_before_the_end_of_the_step_are_nobodys_error(harness: RollbackHarness, bot_log: BotLog) -> None:
    harness.plans["ladder"] = repair_verified_by(log={"file": "bot.log", "absent": "ERROR"})
    write_log_before(harness, bot_log, "apply", "ERROR while it went down\n")
    number = harness.queue_run()

    harness.run_to_end()

    assert (harness.get_run(number).outcome, harness.get_run(number).level) == ("proven", 0)


def test_a_line_that_must_be_present_may_be_written_while_the_step_is_done(
    harness: RollbackHarness, bot_log: BotLog
) -> None:
    harness.plans["ladder"] = repair_verified_by(log={"file": "bot.log", "present": "model loaded"})
    write_log_before(harness, bot_log, "apply", "model loaded\n")
    number = harness.queue_run()

    harness.run_to_end()

    assert (harness.get_run(number).outcome, harness.get_run(number).level) == ("proven", 0)


def test_without_the_line_that_must_be_present_nothing_is_proven(harness: RollbackHarness, bot_log: BotLog) -> None:
    harness.plans["ladder"] = repair_verified_by(log={"file": "bot.log", "present": "model loaded"})
    number = harness.queue_run()

    harness.run_to_end(number)

    assert harness.get_run(number).outcome == "exhausted"
    assert "bot.log says /model loaded/ is not so" in harness.get_run(number).reason


def test_a_log_that_is_rotated_is_read_on_in_the_new_file(harness: RollbackHarness, bot_log: BotLog) -> None:
    harness.plans["ladder"] = repair_verified_by(log={"file": "bot.log", "present": "model loaded"})
    number = harness.queue_run()

    def meddle(called: str, _: str) -> None:
        if called == "read_log":
            bot_log.path.rename(bot_log.path.with_suffix(".1"))
            bot_log.write("model loaded\n")
            harness.before_call = lambda *_: None

    harness.before_call = meddle
    harness.run_to_end()

    assert (harness.get_run(number).outcome, harness.get_run(number).level) == ("proven", 0)


def test_after_a_death_at_any_point_the_log_is_read_from_the_step_on(make_folder: Callable[[], Path]) -> None:
    for n in range(1, 40):
        harness = RollbackHarness(make_folder())
        log = BotLog(harness)
        harness.plans["ladder"] = repair_verified_by(
            log={"file": "bot.log", "absent": "ERROR of", "present": "model loaded"}
        )
        write_log_before(harness, log, "apply", "model loaded\n")
        number = harness.queue_run()
        harness.crash_points.crash_after = n
        died = harness.crashes()
        heir = restart(harness)
        if not heir.applied_steps and heir.config_values()["MODEL"] == "2":
            write_log_before(heir, log, "apply", "model loaded\n")
        heir.run_to_end()
        assert (heir.get_run(number).outcome, heir.get_run(number).level) == ("proven", 0), n
        heir.journal.close()
        if not died:
            return


def test_a_line_of_the_level_that_helped_proves_no_stage_on_the_way_back(
    harness: RollbackHarness, bot_log: BotLog
) -> None:
    """The first level and the first stage have the same number; none of the stage's steps fits this target, so none begins."""
    stage = {
        "name": "small",
        "steps": [{"do": "systemd", "restart": "unit", "on_error": "continue"}],
        "verify": VERIFY_OPTIONS | {"log": {"file": "bot.log", "present": "model loaded"}},
    }
    plan = repair_verified_by(log={"file": "bot.log", "present": "model loaded"})
    harness.plans["ladder"] = plan.model_copy(update={"recover": make_repair(recover=[stage]).recover})
    write_log_before(harness, bot_log, "apply", "model loaded\n")
    number = harness.queue_run()

    harness.run_to_end(number)

    assert harness.get_run(number).outcome == "stopped"
    assert "stage small: unknown: no proof within" in harness.get_run(number).reason


@contextmanager
def serve_page(statuses: list[int], body: bytes = b"ready") -> Iterator[str]:
    """A server that answers so, one after the other; the last for ever."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/health"
    finally:
        server.shutdown()
        server.server_close()


def test_a_page_is_asked_until_it_answers_as_it_should(harness: RollbackHarness) -> None:
    with serve_page([503, 503, 204]) as url:
        harness.plans["ladder"] = repair_verified_by(http={"url": url, "expect": 204})
        number = harness.queue_run()
        harness.run_to_end()

    assert (harness.get_run(number).outcome, harness.get_run(number).level) == ("proven", 0)
    assert (
        "answers 204"
        in harness.journal.query("SELECT text FROM event WHERE text LIKE '%level model proven%'")[0]["text"]
    )


@pytest.mark.parametrize("asked", [{"expect": 200, "body": "^ok$"}, {"expect": 201}])
def test_a_page_that_answers_otherwise_proves_nothing(harness: RollbackHarness, asked: dict[str, Any]) -> None:
    with serve_page([200]) as url:
        harness.plans["ladder"] = repair_verified_by(http={"url": url, **asked})
        number = harness.queue_run()
        harness.run_to_end(number)

    assert harness.get_run(number).outcome == "exhausted"
    assert "is not so" in harness.get_run(number).reason


def test_nobody_there_proves_nothing_and_disproves_nothing(harness: RollbackHarness) -> None:
    harness.plans["ladder"] = repair_verified_by(http={"url": "http://127.0.0.1:1/"})
    number = harness.queue_run()

    harness.run_to_end(number)

    assert harness.get_run(number).outcome == "exhausted"


def test_a_page_that_hangs_does_not_hold_up_a_halt(harness: RollbackHarness) -> None:
    import asyncio
    import socket

    with socket.create_server(("127.0.0.1", 0)) as door:
        harness.pool = ThreadOffload(4, "test")
        harness.plans["ladder"] = repair_verified_by(
            http={"url": f"http://127.0.0.1:{door.getsockname()[1]}/", "timeout": "20s"}
        )
        number = harness.queue_run()

        async def play() -> None:
            harness.start_targets()
            while not harness.get_run(number).acted or not has_pending_connection(door):
                harness.now += 200
                harness.rollback.wake()
                await asyncio.sleep(0.01)
            halt = harness.queue_run("halt")
            for _ in range(500):
                if harness.get_run(halt).ended is not None:
                    break
                harness.now += 200
                harness.rollback.wake()
                await asyncio.sleep(0.01)
            assert harness.get_run(halt).outcome == "proven"
            await harness.stop()

        asyncio.run(play())
        harness.pool.close()


def has_pending_connection(door: Any) -> bool:
    import select

    return bool(select.select([door], [], [], 0)[0])


def test_a_named_rule_must_be_quiet_too(harness: RollbackHarness) -> None:
    other = StateKey("latency", "crit", ())
    harness.plans["ladder"] = repair_verified_by(rules=["latency"])
    asked: list[tuple[str, list[str]]] = []

    def named(target: str, names: Any) -> dict[StateKey, MachineConfig]:
        asked.append((target, list(names)))
        return {other: MachineConfig(Patience(duration=500))}

    harness.named_machine_configs = named
    harness.outcomes_by_key[other] = lambda config: "bad" if config["FEATURE"] == "True" else "ok"
    number = harness.queue_run()

    harness.run_to_end()

    assert harness.get_run(number).level == 1
    assert asked[0] == ("bot", ["latency"])
    assert other != ERRORS_KEY
