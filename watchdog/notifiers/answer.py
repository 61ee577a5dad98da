"""What a chat service answered, as far as it can be read: a message that it has taken is not sent once more because the rest of the
answer is broken off, or holds what nobody expected."""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

MAX_BYTES = 1 << 20
"""Bytes of an answer that are read; what is looked for stands at its beginning."""

_DECODER = json.JSONDecoder(parse_float=str)  # a Slack ts has more digits than a float
_SPACE = re.compile(r"[ \t\r\n\ufeff]*")
_COLON, _COMMA = re.compile(r"\s*:\s*"), re.compile(r"\s*,\s*")
_GZIP = b"\x1f\x8b"


def read_answer(body: bytes) -> dict[str, Any]:
    """The members of a JSON object, however it goes on: up to where it is cut off, or is JSON no more. Empty: it is no object."""
    if body.startswith(_GZIP):
        body = _unpack(body)
    text = body.decode(json.detect_encoding(body), "replace")
    return _read_members(text, _SPACE.match(text).end())  # type: ignore[union-attr]  # it matches nothing, too


def says_ok(answer: dict[str, Any]) -> bool:
    """Whether the service says that it is done."""
    return answer.get("ok") in (True, 1, "true")


def _unpack(body: bytes) -> bytes:
    """What is packed, as far as it goes: nobody asked for that."""
    try:
        return zlib.decompressobj(31).decompress(body, MAX_BYTES)
    except zlib.error:
        return body


def _read_members(text: str, start: int, depth: int = 2) -> dict[str, Any]:
    """Of the object that begins there. What it holds is taken whole, or, where it is cut off itself, the same way."""
    members: dict[str, Any] = {}
    if text[start : start + 1] != "{":
        return members
    end = start + 1
    while True:
        try:
            name, end = _DECODER.raw_decode(text, _SPACE.match(text, end).end())  # type: ignore[union-attr]
            colon = _COLON.match(text, end)
            if not isinstance(name, str) or colon is None:
                return members
            end = colon.end()
        except (ValueError, RecursionError):
            return members
        try:
            value, after = _DECODER.raw_decode(text, end)
        except (ValueError, RecursionError):
            if depth and (cut := _read_members(text, end, depth - 1)):
                members[name] = cut
            return members
        if after < len(text) or isinstance(
            value, bool | str | dict | list
        ):  # of a number more digits may have been cut off
            members[name] = value
        comma = _COMMA.match(text, after)
        if comma is None:
            return members
        end = comma.end()
