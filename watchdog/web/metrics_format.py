"""In which format a reader wants the metrics: what its Accept header says, whatever it says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

Encode = Callable[[Collector], bytes]

_ESCAPINGS = ("allow-utf-8", "underscores", "dots", "values")


def choose_format(accept: str) -> tuple[Encode, str]:
    """The encoder and its content type; the text format 0.0.4 where nothing is asked for that we know.

    prometheus_client takes the first it knows, heeds no `q`, and fails where a version is no number.
    """
    wanted = max(_formats(accept), key=lambda one: one[0], default=(0.0, ""))[1]  # of equals the first
    encode, content_type = choose_encoder(wanted)
    return encode, content_type


def _formats(accept: str) -> Iterator[tuple[float, str]]:
    """How much each is wanted, and what prometheus_client is to be told."""
    for said in accept[:4_096].split(","):
        kind, *rest = (part.strip() for part in said.lower().split(";"))
        params = {name.strip(): value.strip(' "') for name, _, value in (one.partition("=") for one in rest)}
        weight = _weight(params.get("q", "1"))
        version = params.get("version", "")
        numbers = tuple(map(int, version.split("."))) if re.fullmatch(r"\d{1,4}(\.\d{1,4}){0,2}", version) else None
        escaping = params.get("escaping", "")
        more = f"; version=1.0.0{f'; escaping={escaping}' if escaping in _ESCAPINGS else ''}"
        if not weight:
            continue
        if kind == "application/openmetrics-text" and (numbers is None or numbers[0] == 1):
            yield weight, kind + (more if numbers else "")
        elif kind == "text/plain":
            yield weight, kind + (more if numbers and numbers[0] == 1 else "")
        elif kind in ("*/*", "text/*"):
            yield weight, ""


def _weight(q: str) -> float:
    """From 0 to 1; 1 where it is no such number."""
    return float(q) if re.fullmatch(r"0(\.\d{0,3})?|1(\.0{0,3})?", q) else 1.0
