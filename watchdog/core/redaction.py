"""What looks like a secret in somebody else's text, and is blotted out before it is kept or told.

Names say it (`key`, `token`, `password` …), or the shape of a text does (a JWT, a PEM block, an address with a password in
it, letters and digits without any order). Blotting out too much costs a word in a report; too little costs a key.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable

BLOT = "***"
"""What stands in a secret's place."""

_PARTS_OF_NAMES = (
    "secret", "token", "passw", "passphrase", "pwd", "credential", "apikey", "privatekey", "private", "webhook", "dsn",
    "mnemonic", "authorization", "bearer", "cookie", "jwt", "signature", "connectionstring", "databaseurl",
)  # fmt: skip
"""Wherever in a name, its separators left out."""
_WORDS_OF_NAMES = frozenset(
    ("key", "keys", "pass", "pw", "auth", "cred", "creds", "pin", "otp", "totp", "seed", "salt", "session")
)
"""A word of a name by itself; also one that ends in `key`."""
_COUNTED = frozenset(
    (
        "max",
        "min",
        "num",
        "count",
        "limit",
        "size",
        "length",
        "timeout",
        "ttl",
        "interval",
        "expiry",
        "expires",
        "seconds",
        "s",
        "ms",
    )
)
"""With one of these in the name a number is a number: max_tokens."""
_NAME_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NUMBER = re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")
_PLAIN_WORDS = frozenset(
    ("", "true", "false", "null", "none", "yes", "no", "on", "off", "~", "''", '""', "[]", "{}", "()")
)

_SHAPES = re.compile(
    r"""
    -----BEGIN [A-Z ]{1,60}-----(?:(?!-----END)[\s\S])*+(?:-----END [A-Z ]{1,60}-----)?  # PEM
    | \beyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?                                            # JWT
    | \b(?:sk|pk|rk|ghp|gho|ghu|ghs|ghr|github_pat|glpat|xox[abeoprs]|whsec|npm|pypi|hf|dop_v1)[-_][\w-]{6,}
    | \bA(?:KIA|SIA|Iza)[\w-]{12,}
    | \b[0-9]{6,12}:[\w-]{30,}                                                           # a Telegram bot
    | (?<=/services/)[\w/-]{10,} | (?<=/webhooks/)[\w/-]{10,} | (?<=/bot)[0-9]{6,12}:[\w-]+
    | (?<=://)[^\s/@"'<>]{1,500}+(?=@)                                                   # user:password@
    | (?<=[ ]-u[ ])[^\s:"']{1,100}+:[^\s"']+ | (?<=[ ]--user[ ])[^\s:"']{1,100}+:[^\s"']+    # curl -u user:password
    | \b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b                           # a UUID
    """,
    re.VERBOSE,
)
_RUN = re.compile(r"[A-Za-z0-9+/=_-]{16,}+")
_RUN_PART = re.compile(r"[A-Za-z0-9+=]{16,}+")
_NAME_AND_SIGN = re.compile(
    r"""
    (?P<name>(?P<quoted>"[^"\\\n]{1,100}+" | '[^'\\\n]{1,100}+') | (?<![\w.-])(?P<option>--?)?[A-Za-z_][\w.-]{0,100}+ )
    (?P<sign>\]?[ \t]*+(?::[ \t]*+[A-Za-z_][\w.]{0,40}+(?:\[[^\]\n]{0,60}+\])?[ \t]*+=(?!=)|[:=!]=|[:=](?!:))[ \t]*+
        | (?(quoted)(?:[ \t]++|,[ \t]*+)(?=["'])|(?!)) | (?(option)[ \t]++(?!-)|(?!)))
    """,
    re.VERBOSE,
)
_WRITTEN = re.compile(
    r"""
    [bBfFrRuU]{0,2}(?:\"{3}(?:(?!\"{3})[\s\S])*+(?:\"{3})? | '{3}(?:(?!'{3})[\s\S])*+(?:'{3})?
        | "(?:[^"\\\n]|\\.)*+"? | '(?:[^'\\\n]|\\.)*+'?)(?![^\s,;&}\])])
    | \[[ \t]*+\n[^\]]{0,4000}+\] | \{[ \t]*+\n[^}]{0,4000}+\} | \([ \t]*+\n[^)]{0,4000}+\)
    | \[[^\]\n]*+\]? | \{[^}\n]*+\}? | \([^)\n]*+\)?
    | [^,;&}\])\n]++
    """,
    re.VERBOSE,
)
_LITERAL = re.compile(r"[bBfFrRuU]{0,2}[\"']|[-+]?[0-9]|[\[{(](?:[ \t]*\n[^\"'0-9]*|[^\n]*)[\"'0-9]")
_ENTROPY = 3.3
"""Bits a character, of twenty or so: what nobody has made up."""


def is_secret_name(names: str | Iterable[str]) -> bool:
    """Whether a key is called like a secret; of a path of keys, any of them."""
    return any(map(_is_secret_key, [names] if isinstance(names, str) else names))


def looks_secret(text: str) -> bool:
    """Whether it has the shape of a secret, or holds one."""
    return _SHAPES.search(text) is not None or any(_is_random(run[0]) for run in _RUN.finditer(text))


def blot_value(names: str | Iterable[str], written: str) -> str:
    """A value as it is written under that key, or path of keys, as people may see it."""
    plain = written.strip()
    if plain.lower() in _PLAIN_WORDS:
        return written
    names = [names] if isinstance(names, str) else list(names)
    if is_secret_name(names):
        words = {word.lower() for name in names for word in _NAME_WORD.findall(name)}
        return written if _NUMBER.fullmatch(plain) and words & _COUNTED else BLOT
    return blot_text(written)


def blot_text(text: str, *, is_code: bool = False, mark: Callable[[str], str] = lambda _: BLOT) -> str:
    """Text of any kind without what looks like a secret in it; `mark` says what stands in its place.

    `is_code`: a name that is given a name, or a call, is given no secret.
    """
    text = _SHAPES.sub(lambda found: mark(found[0]), text)
    text = _RUN.sub(lambda run: mark(run[0]) if _is_random(run[0]) else run[0], text)
    shown, position = [], 0
    while (sign := _NAME_AND_SIGN.search(text, position)) is not None:
        shown.append(text[position : sign.end()])
        position = sign.end()
        name = sign["name"].strip("\"'")
        if not is_secret_name(name) or (value := _WRITTEN.match(text, position)) is None:
            continue
        is_query = text[max(sign.start() - 1, 0)] in "?&"  # of an address, which is a text in code
        if (is_code and not is_query and not _LITERAL.match(value[0])) or blot_value(name, value[0]) != BLOT:
            continue
        bare = value[0].rstrip()
        quote = bare[-1] if len(bare) > 1 and bare[-1] in "\"'" else ""
        shown.append(f"{quote}{mark(bare)}{quote}")
        position = value.start() + len(bare)
    return "".join((*shown, text[position:]))


def _is_secret_key(name: str) -> bool:
    words = [word.lower() for word in _NAME_WORD.findall(name)]
    joined = "".join(words)
    return (
        not _WORDS_OF_NAMES.isdisjoint(words)
        or any(word.endswith("key") for word in words)
        or any(part in joined for part in _PARTS_OF_NAMES)
    )


def _is_random(run: str) -> bool:
    """Letters and digits in no order, as a machine makes them: not words with a number behind them."""
    return any(map(_is_random_part, _RUN_PART.findall(run)))


def _is_random_part(text: str) -> bool:
    digits, letters = sum(map(str.isdigit, text)), sum(map(str.isalpha, text))
    if re.fullmatch(r"[0-9a-fA-F]{24,}", text):
        return digits >= 4 and letters >= 2
    if digits < 2 or letters < 6 or len(text) < 18:
        return False
    changes = sum(a.isdigit() != b.isdigit() or (a.islower() and b.isupper()) for a, b in itertools.pairwise(text))
    return changes >= max(4, len(text) // 6) and _entropy(text) >= _ENTROPY


def _entropy(text: str) -> float:
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())
