"""`notify`: a sample message on one channel, past the journal and everything that waits, and what came back."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import socket
import threading
import time
from typing import Any

from watchdog.cli.arguments import Commands, add_command, add_config_option
from watchdog.cli.common import current_user, load_or_salvage
from watchdog.cli.output import print_json, print_line
from watchdog.cli.root import let_go_of_root
from watchdog.core.errors import NotifyError, WatchdogError
from watchdog.core.model import Message
from watchdog.core.units import format_duration
from watchdog.documents.problems import unknown_name
from watchdog.notifiers.call import SEND_TIMEOUT
from watchdog.web.status_rows import format_time

DEADLINE = SEND_TIMEOUT
"""Seconds that the channel has, as in the daemon."""


def register(commands: Commands) -> None:
    command = add_command(
        commands, "notify", notify, "Send a sample message on a channel, and say what came back and what cures it."
    )
    command.add_argument("channel", metavar="CHANNEL", help="its name in watchdog.yaml")
    command.add_argument(
        "--severity", choices=("info", "warn", "crit"), default="warn", help="how bad it claims to be (%(default)s)"
    )
    add_config_option(command)


def notify(options: argparse.Namespace) -> int:
    loaded = load_or_salvage(options.config)
    name = options.channel
    if name not in loaded.channels:
        if not loaded.channels:
            raise WatchdogError("there is no channel — add one under channels: in watchdog.yaml (docs/channels)")
        raise WatchdogError(unknown_name("channel", name, loaded.channels))
    if (why := loaded.silent_channels.get(name)) is not None:
        raise WatchdogError(f"channel {name} cannot be told anything: {why}")
    let_go_of_root(
        options.config, loaded.state, acts=False, writes=False
    )  # its files are read as the daemon reads them
    now = time.time_ns() // 1_000_000
    message = Message(
        options.severity,
        f"sample from trading-watchdog on {socket.gethostname()}",
        (
            f"{current_user()} tries the channel {name}, {format_time(now)}",
            "nothing is wrong, and nothing is to be done",
        ),
        key=f"sample-{now}",
        broadcast=True,
    )
    handle, error = _send(loaded.channels[name], message)
    if options.json:
        print_json(
            {
                "channel": name,
                "ok": error is None,
                "handle": handle,
                "error": None if error is None else str(error),
                "permanent": error is not None and error.permanent,
                "retry_after": None if error is None else error.retry_after,
            }
        )
    elif error is None:
        print_line(f"{name}: the sample was taken{'' if handle is None else f' (message {handle})'}")
    else:
        wait = (
            ""
            if error.retry_after is None
            else f"; it asks to wait {format_duration(round(error.retry_after * 1_000))}"
        )
        print_line(f"{name}: not delivered: {error}{wait}", is_error=True)
    return 0 if error is None else 1


def _send(channel: Any, message: Message) -> tuple[str | None, NotifyError | None]:
    """As the daemon does it; in a thread that does not keep the command from ending."""
    answers: list[tuple[str | None, NotifyError | None]] = []

    def send() -> None:
        try:
            sent = channel.send(message)
            handle = asyncio.run(_in_time(sent)) if inspect.isawaitable(sent) else sent
            answers.append((None if handle is None else str(handle), None))
        except NotifyError as error:
            answers.append((None, error))
        except TimeoutError:
            answers.append((None, _no_answer()))
        except Exception as bug:  # what it says may quote a secret
            answers.append((None, NotifyError(f"a mistake in its notifier ({type(bug).__name__})", permanent=True)))

    thread = threading.Thread(target=send, name="channel", daemon=True)
    thread.start()
    thread.join(DEADLINE + 1)
    return answers[0] if answers else (None, _no_answer())


async def _in_time(sent: Any) -> Any:
    async with asyncio.timeout(DEADLINE):
        return await sent


def _no_answer() -> NotifyError:
    return NotifyError(f"no answer within {DEADLINE:.0f} s — check the network, and the address of the channel")
