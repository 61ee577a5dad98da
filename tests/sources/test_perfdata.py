"""Performance data of monitoring plugins, read by the letter of their guidelines."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.property_settings import examples
from watchdog.core.errors import SourceError
from watchdog.sources.perfdata import MAX_PAIRS, PerfData, parse_perfdata


def read(perfdata: str) -> dict[str, float]:
    """The values of well-formed data, as they would stand on a page."""
    found = parse_perfdata(f"OK - all is well | {perfdata}")
    assert found.unreadable == 0
    return shown(found)


def shown(found: PerfData) -> dict[str, float]:
    return {
        f"{value.name.removeprefix('command_perfdata')}{{{','.join(f'{k}={v}' for k, v in value.labels)}}}": value.value
        for value in found.values
    }


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("a=1", {"{label=a}": 1}),
        ("a=-1.5e3", {"{label=a}": -1500}),
        ("a=.5", {"{label=a}": 0.5}),
        ("a=2s", {"_seconds{label=a}": 2}),
        ("a=7ms", {"_seconds{label=a}": 0.007}),
        ("a=7us", {"_seconds{label=a}": 7e-6}),
        ("a=7\u00b5s", {"_seconds{label=a}": 7e-6}),
        ("a=7%", {"_ratio{label=a}": 0.07}),
        ("a=7B", {"_bytes{label=a}": 7}),
        ("a=7KB", {"_bytes{label=a}": 7 * 1024}),
        ("a=7kB", {"_bytes{label=a}": 7 * 1024}),
        ("a=7MiB", {"_bytes{label=a}": 7 * 1024**2}),
        ("a=7TB", {"_bytes{label=a}": 7 * 1024**4}),
        ("a=7c", {"_total{label=a}": 7}),
        ("a=7rpm", {"{label=a,uom=rpm}": 7}),
        ("a=7C", {"{label=a,uom=C}": 7}),
    ],
)
def test_a_value_is_scaled_to_the_base_unit_which_is_in_the_name(said: str, expected: dict[str, float]) -> None:
    assert read(said) == expected


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("'/var/log'=1", "/var/log"),
        ("'it''s here'=1", "it's here"),
        ("'two words'=1", "two words"),
        ("'a=b|c'=1", "a=b|c"),
        ("C:\\ =1", None),
        ("C:\\=1", "C:\\"),
        ("größe=1", "größe"),
    ],
)
def test_a_label_may_be_anything_in_quotes(said: str, label: str | None) -> None:
    found = parse_perfdata(f"OK |{said}")

    assert [dict(value.labels)["label"] for value in found.values] == ([label] if label else [])
    assert bool(found.unreadable) is (label is None)


@pytest.mark.parametrize(
    ("said", "bounds"),
    [
        ("10", {"lower": 0, "upper": 10}),
        ("10:", {"lower": 10}),
        ("~:10", {"upper": 10}),
        (":10", {"upper": 10}),
        ("10:20", {"lower": 10, "upper": 20}),
        ("-5:-1.5", {"lower": -5, "upper": -1.5}),
        ("@10:20", {}),
        ("", {}),
    ],
)
def test_limits_are_the_bounds_outside_of_which_it_is_bad(said: str, bounds: dict[str, float]) -> None:
    for kind, text in (("warn", f"a=1s;{said}"), ("crit", f"a=1s;;{said};")):
        expected = {f"_{kind}_seconds{{bound={bound},label=a}}": limit for bound, limit in bounds.items()}
        assert read(text) == {"_seconds{label=a}": 1, **expected}


def test_least_and_most_are_values_of_their_own() -> None:
    assert read("a=50%;;;10;90%") == {
        "_ratio{label=a}": 0.5,
        "_min_ratio{label=a}": 0.1,
        "_max_ratio{label=a}": 0.9,
    }


def test_what_nobody_knows_is_absent_and_no_mistake() -> None:
    assert read("a=U b=1 c=U;80;90;0;100") == {"{label=b}": 1}


@pytest.mark.parametrize(
    "said",
    [
        "word",
        "=1",
        "''=1",
        "a=",
        "a=x",
        "a=1,5",
        "a=1.2.3",
        "a=1e999",
        "a=1e9999",
        "a=" + "1" * 61,
        "a=nan",
        "a=inf",
        "a=1s;x",
        "a=1s;1:x",
        "a=1s;:",
        "a=1s;~:",
        "a=1s;;@",
        "a=1s;;;x",
        "a=1s;;;;1ms",
        "a=1;1;1;1;1;1",
        "a='1'",
        "'a=1",
        "a'b=1",
        "a=1" + "u" * 33,
    ],
)
def test_what_is_no_performance_data_is_no_value_and_is_counted(said: str) -> None:
    found = parse_perfdata(f"OK | {said}\tgood=1")

    assert shown(found).keys() <= {"{label=good}"}
    assert found.unreadable >= 1


def test_of_a_value_that_stands_there_twice_neither_is_taken() -> None:
    found = parse_perfdata("OK | a=1 b=2 a=3 a=4ms")

    assert shown(found) == {"{label=b}": 2, "_seconds{label=a}": 0.004}
    assert found.unreadable == 1


def test_it_stands_behind_the_bar_of_the_first_line_and_again_behind_the_next_one() -> None:
    output = "DISK OK | a=1 b=2\nlong text x=9\nmore of it | c=3\nd=4 e=5\n"

    assert shown(parse_perfdata(output)) == {f"{{label={name}}}": n for n, name in enumerate("abcde", 1)}


@pytest.mark.parametrize("output", ["", "\n", "OK", "OK\na=1\nb=2", "|", "OK|\n|", "\0\0", "OK | \r\n"])
def test_an_output_without_any_is_none(output: str) -> None:
    assert parse_perfdata(output) == PerfData((), 0)


def test_more_than_any_plugin_has_is_refused() -> None:
    with pytest.raises(SourceError, match=f"more than {MAX_PAIRS} .+ — "):
        parse_perfdata("OK |" + " a=1" * (MAX_PAIRS + 1))


# ─ what the Monitoring Plugins print ─

REAL: dict[str, tuple[str, dict[str, float], int]] = {
    "check_disk": (
        "DISK OK - free space: / 3326 MB (56%); | /=2643MB;5948;5958;0;5968\n"
        "/ 15272 MB (77%);\n/boot 68 MB (69%);\n"
        "/var/log 819 MB (84%); | /boot=68MB;88;93;0;98\n"
        "/home=69357MB;253404;253409;0;253414\n/var/log=818MB;970;975;0;980\n",
        {
            "_bytes{label=/}": 2643 * 2**20,
            "_max_bytes{label=/home}": 253414 * 2**20,
            "_bytes{label=/var/log}": 818 * 2**20,
        },
        28,
    ),
    "check_disk in bytes": (
        "DISK OK - free space: / 33106MiB (36% inode=91%);| /=60397977600B;79168536576;89064603648;0;98960670720\n",
        {"_bytes{label=/}": 60397977600, "_warn_bytes{bound=upper,label=/}": 79168536576},
        7,
    ),
    "check_load": (
        "LOAD OK - total load average: 0.03, 0.05, 0.01|load1=0.030;5.000;10.000;0; load5=0.050;4.000;6.000;0; "
        "load15=0.010;3.000;4.000;0; \n",
        {"{label=load1}": 0.03, "_crit{bound=upper,label=load15}": 4, "_min{label=load5}": 0},
        18,
    ),
    "check_http": (
        "HTTP OK: HTTP/1.1 200 OK - 10975 bytes in 0.004 second response time "
        "|time=0.003761s;;;0.000000;10.000000 size=10975B;;;0\n",
        {"_seconds{label=time}": 0.003761, "_max_seconds{label=time}": 10, "_bytes{label=size}": 10975},
        5,
    ),
    "check_ping": (
        "PING OK - Packet loss = 0%, RTA = 0.80 ms|rta=0.801000ms;3000.000000;5000.000000;0.000000 pl=0%;80;100;0\n",
        {"_seconds{label=rta}": 0.000801, "_ratio{label=pl}": 0, "_warn_ratio{bound=upper,label=pl}": 0.8},
        12,
    ),
    "check_ping of a host that is down": (
        "PING CRITICAL - Packet loss = 100%|rta=5000.000000ms;3000.000000;5000.000000;0.000000 pl=100%;80;100;0\n",
        {"_seconds{label=rta}": 5, "_ratio{label=pl}": 1},
        12,
    ),
    "check_procs": (
        "PROCS OK: 114 processes | procs=114;150;200;0;\n",
        {"{label=procs}": 114, "_warn{bound=upper,label=procs}": 150},
        6,
    ),
    "check_procs with ranges": (
        "PROCS CRITICAL: 0 processes with command name 'bot' | procs=0;1:1;1:;0;\n",
        {"{label=procs}": 0, "_warn{bound=lower,label=procs}": 1, "_crit{bound=lower,label=procs}": 1},
        5,
    ),
    "check_users": ("USERS OK - 1 users currently logged in |users=1;5;10;0\n", {"{label=users}": 1}, 6),
    "check_swap": (
        "SWAP OK - 100% free (2047 MB out of 2047 MB) |swap=2047MB;409;204;0;2047\n",
        {"_bytes{label=swap}": 2047 * 2**20},
        7,
    ),
    "check_tcp": (
        "TCP OK - 0.000 second response time on 127.0.0.1 port 22|time=0.000214s;;;0.000000;10.000000\n",
        {"_seconds{label=time}": 0.000214},
        3,
    ),
    "check_ntp_time": (
        "NTP OK: Offset -0.0007860660553 secs|offset=-0.000786s;60.000000;120.000000;\n",
        {"_seconds{label=offset}": -0.000786},
        5,
    ),
    "check_apt": (
        "APT OK: 0 packages available for upgrade (0 critical updates). "
        "|available_upgrades=0;;;0 critical_updates=0;;;0\n",
        {"{label=available_upgrades}": 0},
        4,
    ),
    "check_dns": (
        "DNS OK: 0.012 seconds response time. example.com returns 93.184.216.34|time=0.012406s;;;0.000000\n",
        {"_seconds{label=time}": 0.012406},
        2,
    ),
}


@pytest.mark.parametrize("plugin", REAL)
def test_what_plugins_really_print_is_read_whole(plugin: str) -> None:
    output, expected, number = REAL[plugin]
    found = parse_perfdata(output)

    assert found.unreadable == 0
    values = shown(found)
    assert {name: values[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert len(found.values) == number


# ─ whatever comes ─

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32).map(float)
LABELS = st.text(st.characters(codec="utf-8", exclude_characters="="), min_size=1, max_size=30).filter(str.strip)


@settings(max_examples=examples(300))
@given(st.dictionaries(LABELS, NUMBERS, min_size=1, max_size=8), st.sampled_from(["", "s", "B", "c", "rpm"]))
def test_what_is_written_as_the_guidelines_say_is_read_as_it_was(values: dict[str, float], uom: str) -> None:
    words = ["'{}'={!r}{}".format(label.replace("'", "''"), number, uom) for label, number in values.items()]
    found = parse_perfdata("OK | " + " ".join(words))
    if any("\n" in label or "|" in label for label in values):  # what then is which line's nobody can say
        return

    assert found.unreadable == 0
    assert {dict(value.labels)["label"]: value.value for value in found.values} == values


PIECES = st.sampled_from(
    [
        "|",
        "\n",
        "'",
        "''",
        "=",
        ";",
        ":",
        "@",
        "~",
        "U",
        "a",
        "1",
        "1.5",
        "-",
        "e",
        "ms",
        "%",
        "KB",
        " ",
        ",",
        "\0",
        "ß",
    ]
)


@settings(max_examples=examples(500))
@given(st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=60).map("".join)))
def test_whatever_is_printed_nothing_but_sound_values_come_of_it(output: str) -> None:
    found = parse_perfdata(output)

    assert found.unreadable >= 0
    assert len({value[:2] for value in found.values}) == len(found.values)
    for name, labels, value in found.values:
        assert name.startswith("command_perfdata")
        assert labels == tuple(sorted(labels))
        assert all(text for _, text in labels)
        assert math.isfinite(value)
