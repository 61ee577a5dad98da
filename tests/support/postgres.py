"""A PostgreSQL server of the tests' own: real, on loopback, forgotten afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import psycopg
import pytest

from tests.support.ports import free_port

PASSWORD = "correct-horse-battery"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "8MB",
    "max_connections": "20",
    "logging_collector": "off",
}


class Postgres(NamedTuple):
    """By the socket in its folder everybody is believed; over TCP only who knows the password of `bot`."""

    port: int
    folder: Path

    @property
    def url(self) -> str:
        """For `bot`, without the password."""
        return f"postgresql://bot@127.0.0.1:{self.port}/trades"

    def connect(self, **more: Any) -> psycopg.Connection[Any]:
        """As who may everything."""
        settings: dict[str, Any] = {"host": str(self.folder), "user": "postgres", "dbname": "trades", **more}
        return psycopg.connect(port=self.port, autocommit=True, **settings)

    def execute(self, *statements: str) -> None:
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())


def _find_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else found[-1].parent if found else None


def _unprivileged() -> dict[str, Any]:
    """It does not run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    pytest.skip("there is no account that a PostgreSQL server could run as")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    programs = _find_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL server")
    account = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's own folders are closed to other users
    try:
        if account:
            os.chown(folder, account["user"], account["group"])
        server = Postgres(free_port(socket.SOCK_STREAM), folder)
        data, environment = folder / "data", {"LC_ALL": "C.UTF-8", "PATH": os.defpath}
        words = ["-D", str(data), "-U", "postgres", "-E", "UTF8", "--no-sync", "--no-instructions"]
        words += ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={_password_file(folder, account)}"]
        surroundings = {"env": environment, "cwd": "/", **account}
        subprocess.run([programs / "initdb", *words], check=True, capture_output=True, **surroundings)
        settings = {**_SETTINGS, "port": str(server.port), "unix_socket_directories": str(folder)}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(programs / "postgres"), "-D", str(data), *words]
        process: subprocess.Popen[bytes] = subprocess.Popen(command, stderr=subprocess.PIPE, **surroundings)
        try:
            _wait_until_ready(process)
            with server.connect(dbname="postgres") as connection:
                connection.execute(f"CREATE ROLE bot LOGIN PASSWORD '{PASSWORD}'".encode())
                connection.execute("CREATE DATABASE trades OWNER bot")
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)  # at once
            process.wait(timeout=60)
    finally:
        shutil.rmtree(folder)


def _password_file(folder: Path, account: dict[str, Any]) -> Path:
    """Of `postgres`, whom nobody asks for it."""
    path = folder / "password"
    path.write_text(PASSWORD)
    if account:
        os.chown(path, account["user"], account["group"])
    return path


def _wait_until_ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if b"ready to accept connections" in line:
            threading.Thread(target=_drain, args=(process.stderr,), daemon=True).start()
            return
    raise AssertionError(b"".join(said).decode())


def _drain(pipe: IO[bytes]) -> None:
    """A full one would stop the server."""
    with pipe:
        pipe.read()
