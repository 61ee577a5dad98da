"""What reads what others write, without a fuzzer: each target over its seeds, what was found once, and some changes of them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import __main__ as program
from tests.fuzz import seeds
from tests.fuzz.targets import MAX_BYTES, TARGETS
from tests.support.property_settings import examples

MAX_SECONDS = 5.0
"""Of computing for one input."""
MAX_GROWN = {"flags": 16_384}
"""Bytes; PyYAML takes its time."""


def run(name: str, data: bytes) -> None:
    began = time.thread_time()
    TARGETS[name].run(data)
    assert time.thread_time() - began < MAX_SECONDS


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_what_was_found_once_break_nothing(name: str) -> None:
    for data in (*TARGETS[name].seeds(), *seeds.found(name)):
        run(name, data)


@st.composite
def changed(draw: st.DrawFn, name: str) -> bytes:
    """A seed with some bytes cut, doubled, swapped for others or put in."""
    data = bytearray(draw(st.sampled_from([*TARGETS[name].seeds(), *seeds.found(name)])))
    for _ in range(draw(st.integers(0, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 8))
        match draw(st.sampled_from(["cut", "double", "insert", "swap"])):
            case "cut":
                del data[at : at + length]
            case "double":
                data[at:at] = data[at : at + length] * draw(st.integers(1, 50))
            case "insert":
                data[at:at] = draw(st.binary(max_size=8))
            case "swap":
                data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_changes_of_them_break_nothing(name: str) -> None:
    @settings(max_examples=examples(100), deadline=None)
    @given(changed(name))
    def check(data: bytes) -> None:
        run(name, data)

    check()


@st.composite
def grown(draw: st.DrawFn, name: str) -> bytes:
    """A seed in which some bytes stand many thousand times."""
    data = draw(st.sampled_from(list(TARGETS[name].seeds())))
    at, length = draw(st.integers(0, len(data) - 1)), draw(st.integers(1, 12))
    piece = data[at : at + length]
    more = piece * (MAX_GROWN.get(name, MAX_BYTES - 4_096) // len(piece))
    return data[:at] + more + (data[at:] if draw(st.booleans()) else b"")


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_no_repetition_takes_long(name: str) -> None:
    @settings(max_examples=examples(60), deadline=None)
    @given(grown(name))
    def check(data: bytes) -> None:
        run(name, data)

    check()


def test_the_program_knows_every_target() -> None:
    assert set(program.NAMES) == set(TARGETS)
