"""When what the sources have brought is judged: at once, and what has come in meanwhile in one round.

A rule over a thousand sources is evaluated whole whenever one of them brings something. Judged one by one they would hold up
each other and all reads for minutes. Together they are one round; and where rounds follow each other without end, they get
a quarter of the time, and what comes meanwhile is in the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_SHARE = 0.25
"""Of the time that rounds may take for long."""
_BURST = 0.1
"""s of rounds beyond that share before the next one waits."""
_MAX_WAIT = 1.0
"""s that one waits at most."""


class SourceJudge:
    """Lives in the daemon's loop."""

    def __init__(self, judge: Callable[..., None]) -> None:
        """`judge(*sources)`: one round over what these have brought."""
        self._judge = judge
        self._sources: dict[str, None] = {}
        self._ended: asyncio.Future[None] | None = None
        """Of the next round."""
        self._timer: asyncio.Handle | None = None
        self._spent, self._spent_at = 0.0, 0.0
        """s of rounds beyond their share, and when in the loop's time that was worked out."""

    async def judge(self, source: str) -> None:
        """Returns when what the source has brought is judged. Raises what the round raises."""
        self._sources[source] = None
        if self._ended is None:
            loop = asyncio.get_running_loop()
            self._ended = loop.create_future()
            wait = min((self._spent_now(loop.time()) - _BURST) / _SHARE, _MAX_WAIT)
            # Whoever is ready by now is in it, also without a wait.
            self._timer = loop.call_later(wait, self._run) if wait > 0 else loop.call_soon(self._run)
        await asyncio.shield(self._ended)

    def stop(self) -> None:
        """No round begins any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _spent_now(self, now: float) -> float:
        return max(0.0, self._spent - _SHARE * (now - self._spent_at))

    def _run(self) -> None:
        loop = asyncio.get_running_loop()
        sources, self._sources = self._sources, {}
        ended, self._ended = self._ended, None
        assert ended is not None  # whoever asks for a round waits for it
        began = loop.time()
        try:
            self._judge(*sources)
        except Exception as error:
            ended.set_exception(error)
            ended.exception()  # seen: who waits may have been cancelled
        else:
            ended.set_result(None)
        now = loop.time()
        self._spent, self._spent_at = self._spent_now(began) + now - began, now
