"""The head of a request by the letter. The standard library guesses: at a line that is no header it stops looking, a CR alone
ends a line for it, and a folded line goes on. A proxy in front of us may guess otherwise, and where two disagree on where a
request ends, one person's body is another's request."""

from __future__ import annotations

import re

HEAD_END = re.compile(rb"\n\r?\n")
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r?")


def is_sound(head: bytes) -> bool:
    """Whether every line behind the first one, as far as the head's end, is a header and nothing else."""
    end = HEAD_END.search(head)
    lines = head[: end.start() if end is not None else len(head)].split(b"\n")
    return b"\r" not in lines[0].removesuffix(b"\r") and all(map(_HEADER.fullmatch, lines[1:]))
