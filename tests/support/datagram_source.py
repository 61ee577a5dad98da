"""A source that is told: numbers in datagrams. As one would stand in `watchdog/sources/`, and held to what those are held to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Literal

from watchdog.core.errors import SourceError
from watchdog.core.model import ConnectionModel, Duration, Millis, Sample
from watchdog.core.protocols import Deliver, SourceState


class DatagramSource(ConnectionModel):
    """NAME VALUE, sent to a port."""

    type: Literal["datagram"]
    port: int
    """Where it listens, on loopback."""
    every: Duration = 1_000
    """Time from one datagram to the next, as a rule."""

    @property
    def deadline(self) -> Millis:
        return 60_000

    @property
    def identity(self) -> str:
        return str(self.port)

    def receive(self, name: str, state: SourceState, deliver: Deliver, clock: Callable[[], Millis]) -> DatagramReceiver:
        return DatagramReceiver(self.port, state, deliver, clock)


class DatagramReceiver:
    """Listens in a thread of its own."""

    def __init__(self, port: int, state: SourceState, deliver: Deliver, clock: Callable[[], Millis]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError as error:
            self._socket.close()
            raise SourceError(f"port {port} cannot be listened on ({error.strerror}) — say another one") from None
        self._closing = False

        def listen() -> None:
            received = state.get("received", 0)
            while True:
                name, _, value = self._socket.recv(1_000).decode().partition(" ")
                if self._closing:
                    return
                received += 1
                deliver([Sample(name, (), clock(), float(value))], {"received": received})

        self._thread = threading.Thread(target=listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()
