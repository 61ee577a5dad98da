"""Regular expressions over label values: a real Prometheus and we match, replace and refuse the same.

Debian's Prometheus is 2.42, built with an old Go. Where it differs from Prometheus 3 nothing is asked: a dot that meets a
newline, and ``(?<name>…)``, which Go knows since 1.22.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from random import Random

import numpy as np
import pytest

from tests.promql import prometheus_server as prometheus
from watchdog.core.model import Labels
from watchdog.promql import PromqlError, evaluate, parse
from watchdog.tsdb.labels import METRIC_NAME_LABEL
from watchdog.tsdb.page import PageList, page_from_samples

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(prometheus.unavailable_reason() is not None, reason=prometheus.unavailable_reason() or ""),
]

CASE_COUNT = int(os.environ.get("WATCHDOG_DIFFERENTIAL", "2000"))
SEED = int(os.environ.get("WATCHDOG_DIFFERENTIAL_SEED", "7"))

AT = 1_700_000_000_000
VALUES = (
    *(
        "a",
        "b",
        "ab",
        "ba",
        "aab",
        "abc",
        "abcabc",
        "A",
        "AB",
        "a b",
        "a.b",
        "a|b",
        "a-b-c",
        "a\\b",
        "a{,2}",
        "-",
        "_",
        "$",
    ),
    *(
        "1",
        "12",
        "٣",
        "é",
        "É",
        "äöü",
        "straße",
        "STRASSE",
        "ſ",
        "s",
        "k",
        "\u212a",
        "Ω",
        "λ",
        "日本",
        "😀",
        "e\u0301",
        "²",
    ),
    *(
        "a\n",
        "\n",
        " ",
        "\u00a0",
        "\u2028",
        "\ufffd",
        "(a)",
        "[a]",
        "a+",
        "^a$",
        "10.0.0.1:9090",
        "bot-eu-1",
        "x" * 300,
    ),
)

PATTERNS = (
    # what Python reads otherwise, or not at all
    *(r"\d", r"\w", r"\s", r"\D", r"\W+", r"\S", r"\d+"),
    *(r"[[:alpha:]]", r"[[:^alpha:]]", r"[[:word:]]+", r"[^[:space:]]+"),
    *(r"\pL", r"\pL+", r"\PL", r"\p{Greek}", r"\p{Lu}", r"\P{^Lu}"),
    *(r"\pN", r"[\pL\d]+", r"\p{Nope}", r"\p{Han}+", r"\pX"),
    *("(?i)k", "(?i)s", "(?i)straße", "(?i)STRASSE", "(?i)É", "(?i)ω"),
    *("a(?i)b", "(?i:a)b", "(?i)[a-c]+", "(?-i)A", "(?i)\u017f"),
    *(r"a\z", r"\Aa", r"\Za", r"a\Z", "a$", "a$\n", "^a", "(?m)a$"),
    *("(?m)^a$\n?", "^^a$$", r"\ba\b", r"a\Bb", r"\bé", "$", "^"),
    *("(?P<n>a)b", "(?P<n>a)(?P<n>b)", "(?P<n>a)|(?P<n>b)"),
    *("(?P=n)", "(?P<1>a)", "(?P<>a)", "(?'n'a)", "(?#c)a", "(?P<é>a)"),
    *("", "|", "a|", "|a", "(|a)", "a||b", "()", "(?:)", "(a|b|)*"),
    *("(|a)*", "(|a)+", "(a*)*", "(a*)+", "(a|b)*?", "(?U)a+", "(?U)a+?"),
    *("a{2}", "a{,2}", "a{1,}", "a{2,1}", "a{1001}", "a{1000}"),
    *("(a{10}){100}", "(a{10}){101}", "a{", "a{b}", "a}", "{", "a{1", "x{300}"),
    *("a**", "a*+", "a++", "a?+", "a*??", "+", "*a", "a|*", "(?=a)"),
    *("(?!a)b", "(?<=a)b", "(?<!a)b", "(?>a)", r"(a)\1", r"\1", r"\8"),
    *(r"\101", r"\07", r"\x41", r"\x{1F600}", r"\x{110000}", r"\xzz"),
    *(r"\u0041", r"\Qa.b\E", r"\Qa|b", r"\Qa\E\E", r"\E", r"\C", r"\Ca"),
    *(r"\_", r"\-", r"\é", r"\a", r"\f", r"\v", r"\e", r"\h", r"\R"),
    *(r"\X", r"\G", r"\N", r"\y", r"\<a", r"\/", r"\ ", r"\#", "\\"),
    *("[a", "a]", "]", "[]a]", "[^]a]", "[]", "[a-]", "[-a]", "[b-a]"),
    *("[a-\\d]", "[a&&b]", "[a--b]", "[[a]]", "[[]a]", r"[\]]", r"[\w-]+"),
    *("(a", "a)", ")(", "((a)", "(?", "(?i", "(?z)a", "(?x)a b", "(?u)a"),
    *("(?a)a", "(?L)a", "(?s)a.", "(?-s)a.", "(?is-m:a)", "(?i)(?-i)A"),
    # what is common
    *(".*", ".+", "a.*", ".*a", ".*b.*", "a|b|ab", "(a|b)", "(?:a|b)c?"),
    *("bot-(eu|us)-[0-9]+", r"(\d+\.){3}\d+:\d+", "[^a].*", ".", ".."),
    *("a.b", r"a\.b", r"a\|b", r"\(a\)", r"\[a\]", r"a\+", r"\^a\$"),
    *(r"a\\b", "é", "日.", "[é-ü]+", "[^\x00-\x7f]", "[日-本]+", "x*", "(x+x+)+y"),
)  # fmt: skip

REPLACEMENTS = (
    *(("(.*)", "$1"), ("(a)(.*)", "$2$1"), ("(a)(.*)", "$2x")),
    *(("(a)(.*)", "${2}x"), ("(a)(.*)", "$0$0"), ("(a)(.*)", "$01")),
    *(("(a)|(b)", "[$1$2$3]"), ("(?P<n>a)(?P<rest>.*)", "$rest-$n-$nope")),
    *(("(?P<n>a).*", "${n}x$nx"), ("(.*)", "$$1"), ("(.*)", "$")),
    *(("(.*)", "$$$1"), ("(.*)", "a$"), ("(.*)", "${"), ("(.*)", "${}")),
    *(("(.*)", "${1"), ("(.*)", "${1.}"), ("(.*)", "$-1")),
    *(("(.*)", "$1é"), ("(.*)", "$1²"), ("(.*)", "$1٣"), ("(.*)", r"\1")),
    *(("(.*)", r"\g<1>"), ("(.*)", "$999999999999"), ("(.*)", "$1_")),
    *(("a|ab", "$0"), ("(a|ab)(c|bcd)?(.*)", "$1,$2,$3")),
    *(("(a*)(a*)(.*)", "$1,$2,$3"), ("(?U)(a*)(.*)", "$1,$2"), ("(a|b)*", "$1")),
    *((".*?(.)", "$1"), ("(|a)*", "<$1>"), ("(|a)+", "<$1>")),
    *(("(a*)*", "<$1>"), ("(a*)+", "<$1>"), ("(a?)*?(.*)", "$1,$2"), ("a", "")),
    *(("", "empty"), ("(.)(.*)", "$2$1"), ("((.)(.))(.*)", "$4$3$2$1")),
    *(("(?i)(k)", "$1"), ("(é|.)(.*)", "$2"), ("(?:(a)|b)*", "<$1>")),
)  # fmt: skip


@pytest.fixture(scope="module")
def series() -> dict[Labels, dict[int, float]]:
    keys = (((METRIC_NAME_LABEL, "m"), ("n", str(number)), ("x", value)) for number, value in enumerate(VALUES))
    return {key: {AT: 1.0} for key in keys}


@pytest.fixture(scope="module")
def server(
    series: dict[Labels, dict[int, float]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[prometheus.PrometheusClient]:
    with prometheus.running_server(series, tmp_path_factory.mktemp("prometheus")) as running:
        yield running


@pytest.fixture(scope="module")
def pages(series: dict[Labels, dict[int, float]]) -> PageList:
    return PageList([page_from_samples({key: points.items() for key, points in series.items()}, AT - 1)])


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _difference(query: str, server: prometheus.PrometheusClient, pages: PageList) -> str | None:
    at, said, theirs, mine = AT + 1_000, "", set[Labels](), set[Labels]()
    try:
        theirs = set(server.query(query, at))
    except prometheus.QueryError as error:
        said = str(error)
    try:
        mine = set(evaluate(parse(query), pages, np.array([at], np.int64)).keys)
    except PromqlError as error:
        return None if said else f"{query}: only we refuse it: {error}"
    if said:
        return f"{query}: only Prometheus refuses it: {said}"
    return (
        None if mine == theirs else f"{query}: only ours {sorted(mine - theirs)}, only theirs {sorted(theirs - mine)}"
    )


def _without_newlines(pattern: str) -> str:
    """Of the values that are asked, where a dot might meet one."""
    return 'x!~"(?s).*\\n.*",' if "." in pattern else ""


@pytest.mark.parametrize("op", ["=~", "!~"])
def test_matchers_match_what_prometheus_matches(op: str, server: prometheus.PrometheusClient, pages: PageList) -> None:
    asked = (f"m{{{_without_newlines(pattern)}x{op}{_quote(pattern)}}}" for pattern in PATTERNS)
    wrong = [found for query in asked if (found := _difference(query, server, pages)) is not None]

    assert not wrong, "\n".join(wrong)


def test_labels_are_replaced_as_prometheus_replaces_them(server: prometheus.PrometheusClient, pages: PageList) -> None:
    wrong = []
    for pattern, template in (*REPLACEMENTS, *((pattern, "<$0|$1>") for pattern in PATTERNS)):
        if pattern == ")(":
            continue  # Prometheus puts its anchors around it and reads two groups; we refuse it
        of = f"m{{{_without_newlines(pattern)}}}"
        query = f'label_replace({of}, "z", {_quote(template)}, "x", {_quote(pattern)})'
        if (found := _difference(query, server, pages)) is not None:
            wrong.append(found)

    assert not wrong, "\n".join(wrong)


class _Generator:
    """Random expressions of few letters, so that many match."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def pattern(self, depth: int = 3) -> str:
        choose = self._random.choice

        def inner() -> str:
            return self.pattern(depth - 1)

        if depth == 0 or self._random.random() < 0.15:
            atoms = (
                "a",
                "b",
                "c",
                "é",
                "s",
                "k",
                "[ab]",
                "[^a]",
                "[a-c]",
                r"\w",
                r"\d",
                r"\pL",
                r"\s",
                "^",
                "$",
                r"\b",
                "",
                "-",
                "ß",
            )
            return choose(atoms)
        flags = choose(("i", "U", "s", "m", "i-U", "-i"))
        makers = (
            lambda: inner() + inner(),
            lambda: f"{inner()}|{inner()}",
            lambda: f"({inner()})",
            lambda: (
                f"(?:{inner()}){choose(('*', '+', '?', '*?', '+?', '??', '{2}', '{1,2}', '{0,}', '{,2}', '{1,2}?'))}"
            ),
            lambda: f"({inner()}){choose(('*', '+', '?', '*?', '+?', '??'))}",
            lambda: f"(?{flags}:{inner()})",
            lambda: f"(?P<n{self._random.randrange(3)}>{inner()})",
        )
        return choose(makers)()


def test_random_expressions_mean_what_prometheus_reads_in_them(
    server: prometheus.PrometheusClient, pages: PageList
) -> None:
    words = _Generator(Random(SEED))
    asked = list[str]()
    for _ in range(CASE_COUNT):
        pattern = _quote(words.pattern())
        asked += [f"m{{x=~{pattern}}}", f'label_replace(m, "z", "$0|$1|$2|$n1", "x", {pattern})']
    wrong = [found for query in asked if (found := _difference(query, server, pages)) is not None]

    assert not wrong, f"{len(wrong)} differ:\n" + "\n".join(wrong[:20])
