"""A service that apprise reaches, at its HTTP border."""

from __future__ import annotations

import json

from tests.support.fake_chats import FakeServer, Json, Request, Response


class FakeWebhook(FakeServer):
    """Takes what apprise's `json://` sends; the key stands in the path, as in a webhook's, and in a header."""

    path = "/hooks/AAhush-hush_hush/hushhushhush"

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Json] = []

    @property
    def apprise_url(self) -> str:
        """Silence is waited for half a second."""
        return f"{self.url.replace('http', 'json', 1)}{self.path}?rto=0.5&cto=0.5&+X-Key=AAhush-hush_hush"

    def respond(self, request: Request) -> Response:
        if request.path != self.path:
            return Response(404, "no such hook")
        self.messages.append(json.loads(request.body))
        return Response(200, "ok")
