"""Regular expressions: RE2's, as in Prometheus, and linear whatever they say."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc

import pytest

from watchdog.core.pattern import MAX_EXPANDED_BYTES, PatternError, any_of, search_pattern, whole_pattern


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("a|ab", "ab", True),
        ("a", "ab", False),
        ("", "", True),
        ("", "a", False),
        ("a|", "", True),
        ("(a|b)", "b", True),
        (r"a\.b", "a.b", True),
        (r"a\.b", "axb", False),
        (r"a\|b", "a|b", True),
        (r"a\\|b", "a\\", True),
        (r"\_\-", "_-", True),
        ("a.b", "a\nb", True),
        ("a$", "a\n", False),
        ("(?i)ſtraße", "STRAßE", True),
        ("(?i)k", "\u212a", True),
        (r"\d", "٣", False),
        (r"\w", "é", False),
        (r"\pL+", "straße", True),
        (r"\p{Greek}", "λ", True),
        (r"[[:alpha:]]+", "ab", True),
        (r"\x{1F600}", "😀", True),
        (r"\Qa.b\E", "a.b", True),
        (r"\QC:\Cache\E", r"C:\Cache", True),
        (r"[\]]\z", "]", True),
        (r"\101", "A", True),
        ("a{,2}", "a{,2}", True),
        ("(?P<n>a)", "a", True),
        ("(?<n>a)", "a", True),
        ("(?U)a+", "aaa", True),
        (".", "\udcff", True),
        ("[\ufffd]", "\udcff", True),
    ],
)
def test_a_whole_pattern_means_what_it_means_in_prometheus(pattern: str, text: str, matches: bool) -> None:
    assert whole_pattern(pattern).matches(text) is matches


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("Traceback|ERROR", "12:00 ERROR no margin", True),
        ("Traceback|ERROR", "12:00 all is well", False),
        ("^ERROR", "an ERROR", False),
        ("a.b", "a\nb", False),
        ("well$", "all is well\n", False),
        ("(?m)well$", "all is well\nreally", True),
        ("", "anything", True),
    ],
)
def test_a_search_pattern_is_found_anywhere(pattern: str, text: str, found: bool) -> None:
    assert search_pattern(pattern).matches(text) is found


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("(?=a)", "no look-around"),
        ("(?<!a)b", "no look-around"),
        (r"(.)\1", "no back references"),
        (r"(?P<n>.)(?P=n)", "no back references"),
        ("a++", "never backtracks"),
        ("(?>a)", "never backtracks"),
        (r"a\Z", r"written \z"),
        (r"\C", "a character is a dot"),
        ("(?P<é>a)", "in A to Z"),
        (r"\Qa", r"missing \E"),
        ("a{1001}", "make it shorter"),
        ("(?:a{1000}){1000}", "make it shorter"),
        (r"\pL{1000}", "make it shorter"),
        ("(", "missing )"),
        ("[b-a]", "invalid character class range"),
    ],
)
def test_what_re2_refuses_is_refused_with_a_cure(pattern: str, what: str) -> None:
    for made in (whole_pattern, search_pattern):
        with pytest.raises(PatternError, match=r" — ") as caught:
            made(pattern)
        assert what in str(caught.value)


@pytest.mark.parametrize(
    "pattern", ["(hunter2", "[hunter2", r"\p{hunter2}", "(?P<hunter2-", "hunter2{2,1}", "[z-hunter2]"]
)
def test_the_error_does_not_show_what_may_be_a_secret(pattern: str) -> None:
    with pytest.raises(PatternError) as caught:
        search_pattern(pattern)

    assert "hunter" not in str(caught.value)


def test_nothing_is_written_to_stderr() -> None:
    program = """\
from watchdog.core.pattern import PatternError, whole_pattern
for text in ("(", "(?:a{1000}){1000}", r"\\pL{1000}"):
    try: whole_pattern(text)
    except PatternError: pass
assert not whole_pattern("(a|b)*a(a|b){400}c").matches("aab" * 5_000)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=180, check=True)

    assert done.stderr == ""


@pytest.mark.parametrize("pattern", ["down", "down|up", "(down|up)", "(?:down|up)", "", "a-b:c_d", r"a\.b|c\+"])
def test_words_need_no_engine(pattern: str) -> None:
    program = f"""\
import sys
from watchdog.core.pattern import search_pattern, whole_pattern
whole_pattern({pattern!r}).matches("up"), search_pattern({pattern!r}).matches("up")
print("re2" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=180, check=True)

    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("pattern", "text", "template", "expected"),
    [
        ("(.*)-(.*)", "a-b", "$2$1", "ba"),
        ("(.*)-(.*)", "a-b", "$1x", ""),
        ("(.*)-(.*)", "a-b", "${1}x", "ax"),
        ("(.*)-(.*)", "a-b", "$0", "a-b"),
        ("(.*)-(.*)", "a-b", "$01", ""),
        ("(.*)-(.*)", "a-b", "$3|$9999999999999", "|"),
        ("(.*)-(.*)", "a-b", "$$1 $$$1", "$1 $a"),
        ("(.*)-(.*)", "a-b", "$ $- ${ ${} ${1 $", "$ $- ${ ${} ${1 $"),
        ("(.*)-(.*)", "a-b", "${1.5}", "${1.5}"),
        ("(.*)-(.*)", "a-b", "$1é $1² $1٣", " a² "),
        ("(.*)-(.*)", "a-b", r"\1\g<1>", r"\1\g<1>"),
        ("(?P<first>.)(?<rest>.*)", "abc", "$rest${first}$other", "bca"),
        ("(a)|(b)", "a", "$1-$2", "a-"),
        (r"[(]|\(|\Q(\E|(?P<n>a)|(?P<n>b)", "b", "<$n>", "<b>"),
        ("(.)(.*)", "äöü", "$2$1", "öüä"),
        ("a|b", "a", "[$0]", "[a]"),
        ("(a|b)", "a", "[$1]", "[a]"),
        ("a", "b", "x", None),
        ("(a|ab)(c|bcd)?", "abcd", "$1,$2", "a,bcd"),
        ("(?U)(.+)(.*)", "abc", "$1,$2", "a,bc"),
    ],
)
def test_a_template_is_filled_in_as_go_does_it(pattern: str, text: str, template: str, expected: str | None) -> None:
    assert whole_pattern(pattern).expand(text, template) == expected


@pytest.mark.parametrize(
    ("pattern", "text", "template", "expected"),
    [
        ("a", "banana", "o", "bonono"),
        ("a*", "baac", "x", "xbxcx"),  # no empty match right after another one
        ("", "äb", "-", "-ä-b-"),
        ("(n)(a)", "banana", "$2$1", "baanan"),
        ("z", "banana", "o", "banana"),
    ],
)
def test_all_that_matches_is_replaced_as_go_does_it(pattern: str, text: str, template: str, expected: str) -> None:
    assert search_pattern(pattern).replace_all(text, template) == expected


def test_what_is_filled_in_has_an_end() -> None:
    pattern = whole_pattern("(.*)")
    text = "x" * (MAX_EXPANDED_BYTES // 2)

    assert pattern.expand(text, "$1$1") == text * 2
    tracemalloc.start()
    try:
        with pytest.raises(PatternError, match="longer than 16 kB"):
            pattern.expand(text, "$1" * 100_000)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(PatternError, match="longer than 16 kB"):
        search_pattern("x").replace_all(text, "$0$0$0")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("(a+)+$", "a!"), ("(a|a)*b", "a"), ("(.*)*x", "a"), ("(a*)*(b*)*c", "ab"), ("a*a*a*a*a*a*b", "a")],
)
def test_what_python_takes_years_for_is_linear(pattern: str, text: str) -> None:
    compiled = search_pattern(pattern)

    def seconds(length: int) -> float:
        attempts = []
        for _ in range(5):
            start = time.process_time()
            compiled.matches(text * length)
            attempts.append(time.process_time() - start)
        return min(attempts)

    assert seconds(200_000) < 40 * max(seconds(20_000), 1e-4)  # quadratic: 100 times


def test_what_named_groups_hold_is_found_in_bytes() -> None:
    pattern = search_pattern(r"(?P<side>buy|sell) (?P<size>[0-9.]+)( @ (?P<price>[0-9.]+))?")

    assert pattern.group_names == {"side", "size", "price"}
    assert pattern.find(b"... sell 2.5 \xff") == {"": "sell 2.5", "side": "sell", "size": "2.5"}
    assert pattern.find(b"buy 1 @ 7") == {"": "buy 1 @ 7", "side": "buy", "size": "1", "price": "7"}
    assert pattern.find(b"hold") is None
    assert search_pattern("ERROR|CRITICAL").find(b"a CRITICAL one") == {"": "CRITICAL"}
    assert search_pattern("é").find("café".encode()) == {"": "é"}
    assert search_pattern("ERROR|CRITICAL").group_names == frozenset()


@pytest.mark.parametrize(
    ("texts", "hits", "misses"),
    [
        (
            ["ERROR", r"(?P<v>\d+) filled", r"(?P<v>\w+)=\("],
            ["an ERROR", "7 filled", "a=("],
            ["error", "filled", "a=b"],
        ),
        (["(?i)error", "Warn"], ["ERROR", "Warn"], ["WARN"]),
        ([r"\(?P<v>x", r"[(?P<v>]1"], ["(P<v>x", "P<v>x", "<1"], ["(x", "1"]),
        (["a|b", "^c$"], ["xa", "c"], ["cc"]),
        ([r"\Q(?P<v>\E"], ["(?P<v>"], ["x"]),
    ],
)
def test_any_of_some_patterns_is_found_where_one_of_them_is(
    texts: list[str], hits: list[str], misses: list[str]
) -> None:
    found = any_of([search_pattern(text) for text in texts])

    assert found is not None
    assert [text for text in [*hits, *misses] if found.find(text.encode()) is not None] == hits


def test_of_patterns_that_are_too_much_for_one_there_is_none() -> None:
    assert any_of([search_pattern(rf"[{first}-z]\pL{{10}}") for first in "abcdefghijklmnopqrstuvwxy"]) is None
