"""Proof by a page, by lines of a log, and by rules that did not trip."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.rollback.rig import ERRORS, VERIFY, Rig, again, flag, repair
from watchdog.incidents import Key, Terms
from watchdog.offload import Offload
from watchdog.rules import Patience


def proven_by(**verify: Any) -> Any:
    """Two levels, either of which makes the rule well; the first is proven by what is said."""
    return repair(
        before=[],
        proven=[],
        levels=[
            {"name": "model", "steps": [flag(MODEL=1)], "verify": VERIFY | verify},
            {"name": "feature", "steps": [flag(FEATURE=False)]},
        ],
    )


class Log:
    """A log that a bot writes when its configuration is changed."""

    def __init__(self, rig: Rig) -> None:
        self.path = rig.target() / "bot.log"
        self.path.write_text("ERROR of yesterday\nmodel loaded of yesterday\n")

    def write(self, text: str) -> None:
        with self.path.open("a") as file:
            file.write(text)


@pytest.fixture
def log(rig: Rig) -> Log:
    return Log(rig)


def says(rig: Rig, log: Log, verb: str, text: str) -> None:
    """Writes a line right ahead of the first call of that verb after the step."""

    def meddle(called: str, _: str) -> None:
        if called == verb and (verb == "apply" or rig.acts):
            log.write(text)
            rig.meddle = lambda *_: None

    rig.meddle = meddle


def test_a_line_that_must_be_absent_and_is_written_after_the_last_step_disproves(rig: Rig, log: Log) -> None:
    rig.plans["ladder"] = proven_by(log={"file": "bot.log", "absent": "ERROR"})
    says(rig, log, "look", "INFO fine\nERROR no model\n")
    number = rig.queue()

    rig.play()

    assert rig.run(number).level == 1
    assert any("bot.log says: ERROR no model" in row["text"] for row in rig.journal.rows("SELECT text FROM event"))


def test_lines_from_before_the_end_of_the_step_are_nobodys_error(rig: Rig, log: Log) -> None:
    rig.plans["ladder"] = proven_by(log={"file": "bot.log", "absent": "ERROR"})
    says(rig, log, "apply", "ERROR while it went down\n")
    number = rig.queue()

    rig.play()

    assert (rig.run(number).outcome, rig.run(number).level) == ("proven", 0)


def test_a_line_that_must_be_present_may_be_written_while_the_step_is_done(rig: Rig, log: Log) -> None:
    rig.plans["ladder"] = proven_by(log={"file": "bot.log", "present": "model loaded"})
    says(rig, log, "apply", "model loaded\n")
    number = rig.queue()

    rig.play()

    assert (rig.run(number).outcome, rig.run(number).level) == ("proven", 0)


def test_without_the_line_that_must_be_present_nothing_is_proven(rig: Rig, log: Log) -> None:
    rig.plans["ladder"] = proven_by(log={"file": "bot.log", "present": "model loaded"})
    number = rig.queue()

    rig.play(number)

    assert rig.run(number).outcome == "exhausted"
    assert "bot.log says /model loaded/ is not so" in rig.run(number).reason


def test_a_log_that_is_rotated_is_read_on_in_the_new_file(rig: Rig, log: Log) -> None:
    rig.plans["ladder"] = proven_by(log={"file": "bot.log", "present": "model loaded"})
    number = rig.queue()

    def meddle(called: str, _: str) -> None:
        if called == "look":
            log.path.rename(log.path.with_suffix(".1"))
            log.write("model loaded\n")
            rig.meddle = lambda *_: None

    rig.meddle = meddle
    rig.play()

    assert (rig.run(number).outcome, rig.run(number).level) == ("proven", 0)


def test_after_a_death_at_any_point_the_log_is_read_from_the_step_on(folder: Callable[[], Path]) -> None:
    for n in range(1, 40):
        rig = Rig(folder())
        log = Log(rig)
        rig.plans["ladder"] = proven_by(log={"file": "bot.log", "absent": "ERROR of", "present": "model loaded"})
        says(rig, log, "apply", "model loaded\n")
        number = rig.queue()
        rig.boundary.kill_at = n
        died = rig.dies()
        heir = again(rig)
        if not heir.acts and heir.config()["MODEL"] == "2":
            says(heir, log, "apply", "model loaded\n")
        heir.play()
        assert (heir.run(number).outcome, heir.run(number).level) == ("proven", 0), n
        heir.journal.close()
        if not died:
            return


def test_a_line_of_the_level_that_helped_proves_no_stage_on_the_way_back(rig: Rig, log: Log) -> None:
    """The first level and the first stage have the same number; none of the stage's steps fits this target, so none begins."""
    stage = {
        "name": "small",
        "steps": [{"do": "systemd", "restart": "unit", "on_error": "continue"}],
        "verify": VERIFY | {"log": {"file": "bot.log", "present": "model loaded"}},
    }
    plan = proven_by(log={"file": "bot.log", "present": "model loaded"})
    rig.plans["ladder"] = plan.model_copy(update={"recover": repair(recover=[stage]).recover})
    says(rig, log, "apply", "model loaded\n")
    number = rig.queue()

    rig.play(number)

    assert rig.run(number).outcome == "stopped"
    assert "stage small: unknown: no proof within" in rig.run(number).reason


@contextmanager
def page(statuses: list[int], body: bytes = b"ready") -> Iterator[str]:
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


def test_a_page_is_asked_until_it_answers_as_it_should(rig: Rig) -> None:
    with page([503, 503, 204]) as url:
        rig.plans["ladder"] = proven_by(http={"url": url, "expect": 204})
        number = rig.queue()
        rig.play()

    assert (rig.run(number).outcome, rig.run(number).level) == ("proven", 0)
    assert "answers 204" in rig.journal.rows("SELECT text FROM event WHERE text LIKE '%level model proven%'")[0]["text"]


@pytest.mark.parametrize("asked", [{"expect": 200, "body": "^ok$"}, {"expect": 201}])
def test_a_page_that_answers_otherwise_proves_nothing(rig: Rig, asked: dict[str, Any]) -> None:
    with page([200]) as url:
        rig.plans["ladder"] = proven_by(http={"url": url, **asked})
        number = rig.queue()
        rig.play(number)

    assert rig.run(number).outcome == "exhausted"
    assert "is not so" in rig.run(number).reason


def test_nobody_there_proves_nothing_and_disproves_nothing(rig: Rig) -> None:
    rig.plans["ladder"] = proven_by(http={"url": "http://127.0.0.1:1/"})
    number = rig.queue()

    rig.play(number)

    assert rig.run(number).outcome == "exhausted"


def test_a_page_that_hangs_does_not_hold_up_a_halt(rig: Rig) -> None:
    import asyncio
    import socket

    with socket.create_server(("127.0.0.1", 0)) as door:
        rig.pool = Offload(4, "test")
        rig.plans["ladder"] = proven_by(http={"url": f"http://127.0.0.1:{door.getsockname()[1]}/", "timeout": "20s"})
        number = rig.queue()

        async def play() -> None:
            rig.tend()
            while not rig.run(number).acted or not door_was_asked(door):
                rig.now += 200
                rig.rollback.wake()
                await asyncio.sleep(0.01)
            halt = rig.queue("halt")
            for _ in range(500):
                if rig.run(halt).ended is not None:
                    break
                rig.now += 200
                rig.rollback.wake()
                await asyncio.sleep(0.01)
            assert rig.run(halt).outcome == "proven"
            await rig.stop()

        asyncio.run(play())
        rig.pool.close()


def door_was_asked(door: Any) -> bool:
    import select

    return bool(select.select([door], [], [], 0)[0])


def test_a_named_rule_must_be_quiet_too(rig: Rig) -> None:
    other = Key("latency", "crit", ())
    rig.plans["ladder"] = proven_by(rules=["latency"])
    asked: list[tuple[str, list[str]]] = []

    def named(target: str, names: Any) -> dict[Key, Terms]:
        asked.append((target, list(names)))
        return {other: Terms(Patience(hold=500))}

    rig.named = named
    rig.errors_of[other] = lambda config: "bad" if config["FEATURE"] == "True" else "ok"
    number = rig.queue()

    rig.play()

    assert rig.run(number).level == 1
    assert asked[0] == ("bot", ["latency"])
    assert other != ERRORS
