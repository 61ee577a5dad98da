"""What can be known of an answer that is not as it should be."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.property_settings import examples
from watchdog.notifiers.answer import read_answer, says_ok

WHOLE = (
    b'{"ok": true, "result": {"message_id": 57, "chat": {"id": -1001, "title": "a \\"b\\""}, "text": "x"}, "more": [1]}'
)


BROKEN: list[tuple[bytes, dict[str, Any]]] = [
    (b'{"ok":true', {"ok": True}),
    (b'{"ok":true,', {"ok": True}),
    (b'{"ok":tru', {}),
    (b'{"ok":true,"result":{"message_id":57', {"ok": True}),  # 57, or 570?
    (b'{"ok":true,"result":{"message_id":57,"date"', {"ok": True, "result": {"message_id": 57}}),
    (b'{"ok":true,"ts":"17.000001","message":{"te', {"ok": True, "ts": "17.000001"}),
    (b'\xef\xbb\xbf \n{"ok":true}', {"ok": True}),
    (b'{"ok":true}<!-- seen by the proxy -->', {"ok": True}),
    (b'{"ok":true,"text":"\xff\xfe"}', {"ok": True, "text": "��"}),
    (b'{"ok":true,"n":' + b"9" * 5_000 + b"}", {"ok": True}),
    (b'{"ok":true,"deep":' + b"[" * 200_000, {"ok": True}),
    (b'{"ok":true,"deep":' + b'{"a":' * 200_000, {"ok": True}),
    (b'{"ok":true,"n":NaN,"ts":1700000000.000001}', {"ok": True, "ts": "1700000000.000001"}),
    ('{"ok":true,"ts":"1.2"}'.encode("utf-16"), {"ok": True, "ts": "1.2"}),
    ('{"ok":true,"ts":"1.2","x'.encode("utf-32-le"), {"ok": True, "ts": "1.2"}),
    (gzip.compress(b'{"ok":true,"ts":"1.2"}', mtime=0), {"ok": True, "ts": "1.2"}),
    (b"<html>ok: true</html>", {}),
    (b"[true]", {}),
    (b'"ok"', {}),
    (b"null", {}),
    (b"", {}),
    (b"\x1f\x8bnot packed", {}),
]


@pytest.mark.parametrize(("body", "known"), BROKEN, ids=[str(number) for number in range(len(BROKEN))])
def test_what_stands_before_the_fault_is_known(body: bytes, known: dict[str, Any]) -> None:
    answer = read_answer(body)
    answer.pop("n", None)

    assert answer == known


@pytest.mark.parametrize("said", [True, 1, "true"])
def test_ok_is_said_in_more_than_one_way(said: object) -> None:
    assert says_ok({"ok": said})


@pytest.mark.parametrize("said", [False, 0, None, "false", "", "no", 2, [True], {}])
def test_what_is_not_ok_is_not_taken_for_it(said: object) -> None:
    assert not says_ok({"ok": said})


def is_part(known: Any, whole: Any) -> bool:
    """All of it stands in the whole: objects may lack members, at any depth."""
    if not isinstance(known, dict):
        return bool(known == whole)
    return isinstance(whole, dict) and all(name in whole and is_part(known[name], whole[name]) for name in known)


@pytest.mark.parametrize("length", range(len(WHOLE) + 1))
def test_wherever_an_answer_is_cut_nothing_is_made_up(length: int) -> None:
    known, whole = read_answer(WHOLE[:length]), json.loads(WHOLE)

    assert says_ok(known) == (length >= len(b'{"ok": true'))
    assert is_part(known, whole)
    if isinstance(result := known.get("result"), dict):
        assert result.get("message_id", 57) == 57


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=examples(50), deadline=None)
@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_a_whole_answer_is_read_as_json(answer: dict[str, Any]) -> None:
    assert read_answer(json.dumps(answer).encode()) == answer


@settings(max_examples=examples(100), deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_it(body: bytes) -> None:
    read_answer(body)
    read_answer(b'{"ok":true,' + body)
