"""What people ask for, answered from the journal: each once, and with what it does in one transaction."""

from __future__ import annotations

from collections.abc import Callable

from watchdog.app.requests import RequestHandler
from watchdog.app.slow_requests import SlowRequests
from watchdog.app.standing_watch import StandingWatch
from watchdog.core.model import Millis
from watchdog.journal.requests import Request
from watchdog.journal.storage import Journal, Transaction

TellAnswer = Callable[[Transaction, Request, bool, str, set[str]], None]
"""(transaction, request, granted, what to tell the person, channels that hear of it by what was done)"""


class RequestQueue:
    """The requests that are in the journal, whoever left them there."""

    def __init__(
        self,
        journal: Journal,
        handler: RequestHandler,
        slow: SlowRequests,
        standing: StandingWatch,
        clock: Callable[[], Millis],
        answered: Callable[[], object],
    ) -> None:
        """`answered`: called when one was, for there may be messages and runs."""
        self._journal = journal
        self._handler = handler
        self._slow = slow
        self._standing = standing
        self._clock = clock
        self._answered = answered
        self.tell_answer: TellAnswer = lambda *_: None
        """Told of each answer, in its transaction."""

    async def answer_all(self) -> None:
        """Those that can be answered now. May be called while it is under way. Raises JournalUnavailableError."""
        for request in self._journal.requests.list_unanswered():
            if not self._slow.answer_soon(request) and await self._standing.may_answer(request):
                self.answer(request)

    def answer(self, request: Request) -> None:
        if self._journal.requests.find_answer(request.id) is not None:
            return  # somebody else has meanwhile, or who asked waits no longer
        newest = self._journal.messages.last_message_id()

        def record(tx: Transaction, ok: bool, text: str) -> None:
            tx.requests.answer_request(request.id, ok, text, self._clock())
            self.tell_answer(tx, request, ok, text, self._journal.messages.list_channels_after(newest))

        self._handler.answer(request, self._clock(), record)
        self._answered()
