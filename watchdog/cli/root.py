"""What is begun by root goes on as the account that owns the state folder; see `host.privileges` and `worker.broker`."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from watchdog.cli import command_line

# All else is imported when it is root who asks, and by then a broker is on its way.
if TYPE_CHECKING:
    import socket
    import subprocess

    from watchdog.core.model import JsonObject


def is_root() -> bool:
    """And a process of our own, that may let go of it for good."""
    return os.geteuid() == 0 and command_line.is_own_process


BrokerProcess = tuple["socket.socket", "subprocess.Popen[bytes]"]


def begin_broker(path: Path) -> BrokerProcess:
    """Who stays root, and becomes the targets' owners for us. It makes itself ready while we go on."""
    from watchdog.worker.program import start_broker

    return start_broker(str(path.absolute()))


def let_go_of_root(
    path: Path,
    state: Path,
    *,
    acts: bool,
    writes: bool = True,
    begun: BrokerProcess | None = None,
    allowed: JsonObject | None = None,
) -> str | None:
    """Nothing when we are not root, or not a process of our own.

    `acts`: on targets, so that somebody must stay who may become their owners; `begun`: who has been begun for it already, and
    `allowed`: what the files allow, where that was read. `writes`: into the state folder. Returns
    what a daemon has to say of a right that it could not let go of.

    Raises WatchdogError when the state folder cannot be handed over.
    """
    if not is_root():
        return None
    from watchdog.host import privileges, systemctl
    from watchdog.host.account import own_account
    from watchdog.journal.lock import OUR_FILES
    from watchdog.worker.program import make_private

    os.environ.setdefault("LOGNAME", own_account().name)  # who asked, whoever we are from here on

    make_private()
    if acts:
        from watchdog.worker import launch

        broker = launch.Broker(*(begun or begin_broker(path)))
        launch.use_broker(broker)
        systemctl.ask_root = broker.systemctl
        broker.tell(allowed or {"accounts": [], "units": []})  # whoever we are afterwards tells it nothing any more
    account = privileges.service_account(state)
    if writes:
        privileges.hand_over(state, account, OUR_FILES)
    unreadable = privileges.drop(account, _believed_files(path))
    if unreadable is None:
        return None
    return (
        f"root alone may read {unreadable}: the right to read every file is kept — "
        f"let user {account.name} read it, or use the unit file"
    )


def _believed_files(path: Path) -> list[Path]:
    """The configuration with what else lies in its folder, as tokens do; and this program.

    Not what belongs to others, as a bot's repository may: nobody but us decides what we may read. Nor the environment of
    the service, which was read by who was root.
    """
    from watchdog import config
    from watchdog.cli.environment import ENVIRONMENT_FILE

    folder = config.find_files(path).folder.absolute()  # by all the folders on the way: we may stand within them now
    found, owners = [folder], {0, folder.stat().st_uid} if folder.exists() else {0}
    for top, folders, files in os.walk(folder):
        own = [name for name in (*folders, *files) if _owner(Path(top, name)) in owners]
        folders[:] = [name for name in folders if name in own]
        found += [Path(top, name) for name in own if Path(top, name) != folder / ENVIRONMENT_FILE]
    return [*found, Path(sys.executable), Path(os.__file__), Path(__file__)]


def _owner(path: Path) -> int | None:
    """None also for a link."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return None if stat.S_ISLNK(status.st_mode) else status.st_uid
