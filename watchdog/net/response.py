"""The answer to a request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple


class HttpResponse(NamedTuple):
    status: int
    headers: Mapping[str, str]
    """Names in any case."""
    body: bytes
    """Unpacked."""

    def json(self) -> Any:
        """What it says as JSON; None when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None
