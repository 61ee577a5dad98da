"""CSV is read in chunks and column by column; nobody may notice."""

from __future__ import annotations

import csv
import gzip
import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.property_settings import examples
from watchdog.core.model import Labels
from watchdog.offline.history import csv_format, loader, text_format
from watchdog.offline.history.page_builder import HistoryError, PageBuilder
from watchdog.offline.history.text_format import Chunk, parse_time, read_chunks
from watchdog.tsdb.page import ABSENT_BITS, STALE_BITS, PageList

TIMES = st.sampled_from(
    [
        "%d",
        "%d.5",
        "%d000",
        "2026-01-%02dT00:00:00Z",
        "2026-01-%02dT12:34:56.789Z",
        "2026-01-%02d 05:06:07",
        "2026-01-%02dT00:00:00+02:00",
        " %d ",
    ]
)
CELLS = st.sampled_from(["", " ", "1", "-2.5", "1e3", "NaN", "Inf", "-inf", "stale", " 7 ", "STALE", "0.1", "1_0"])
NAMES = st.sampled_from(["a", "b", 'c{x="1"}', 'd{x="1,2"}', 'e{x="new\nline"}'])


def page_contents(pages: PageList) -> dict[Labels, list[tuple[int, str]]]:
    """Everything that stands there, bit by bit."""
    found = {}
    for page in pages.pages:
        for row, key in enumerate(page.keys):
            bits = page.v[row].view(np.int64).tolist()
            found[key] = [
                (t, "stale" if b == STALE_BITS else repr(v))
                for t, b, v in zip(page.t.tolist(), bits, page.v[row].tolist(), strict=True)
                if b != ABSENT_BITS
            ]
    return found


def parse_cell_by_cell(text: str) -> dict[Labels, list[tuple[int, str]]]:
    """The plainest way to read a table, as the documentation has it."""
    header, *rows = [row for row in csv.reader(io.StringIO(text, newline="\n")) if any(cell.strip() for cell in row)]
    points: dict[Labels, dict[int, str]] = {}
    for row in rows:
        t = parse_time(row[0])
        cells = [(row[1], row[2])] if header[1:] == ["series", "value"] else list(zip(header[1:], row[1:], strict=True))
        for name, cell in cells:
            if cell.strip():
                bare, pairs = text_format.parse_series(name)
                key = tuple(sorted({"source": "history", **dict(pairs), "__name__": bare}.items()))
                value = "stale" if cell.strip().lower() == "stale" else repr(float(cell))
                points.setdefault(key, {}).setdefault(t, value)
    return {key: sorted(known.items()) for key, known in points.items()}


def load_in_chunks(monkeypatch: pytest.MonkeyPatch, path: Path, size: int) -> PageList:
    monkeypatch.setattr(loader, "read_chunks", partial(read_chunks, size=size))
    return loader.load([str(path)])


@settings(max_examples=examples(80), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from([16, 50, 1_000]), st.booleans(), st.booleans())
def test_wide_and_long_tables_say_the_same_in_chunks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: st.DataObject, size: int, wide: bool, packed: bool
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=data.draw(st.sampled_from(["\n", "\r\n"])))
    kind = data.draw(TIMES)
    names = data.draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    plain = st.sampled_from(["1", "2.25", "-3e4"])
    cells = data.draw(st.sampled_from([plain, CELLS]))
    writer.writerow(["time", *names] if wide else ["time", "series", "value"])
    for _ in range(data.draw(st.integers(0, 20))):
        time = data.draw(TIMES) if data.draw(st.integers(0, 9)) == 0 else kind
        time = time % data.draw(st.integers(1, 28))
        if wide:
            writer.writerow([time, *(data.draw(cells) for _ in names)])
        else:
            cell = data.draw(cells)
            writer.writerow([time, data.draw(st.sampled_from(names)), cell if cell.strip() else "4"])
    path = tmp_path / "h.csv"
    raw = out.getvalue().encode()
    path.write_bytes(gzip.compress(raw) if packed else raw)

    assert page_contents(load_in_chunks(monkeypatch, path, size)) == parse_cell_by_cell(
        out.getvalue().replace("\r\n", "\n")
    )


@pytest.mark.parametrize("size", [8, 64, 10_000])
@pytest.mark.parametrize(
    ("bad", "what"), [("x,1", "no time"), ("9,n/a", "no number"), ("9", "comma"), ("9,1,2", "comma")]
)
def test_a_mistake_is_found_in_its_line_wherever_the_chunks_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, bad: str, what: str
) -> None:
    path = tmp_path / "h.csv"
    path.write_text("time,a\n" + "".join(f"{i},1\n" for i in range(1, 40)) + bad + "\n50,1\n")

    with pytest.raises(HistoryError, match=rf"h\.csv:41: .*{what}"):
        load_in_chunks(monkeypatch, path, size)


def test_what_is_no_utf_8_is_found_in_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "h.csv"
    path.write_bytes(b"time,a\n" + b"1,1\n" * 30 + b"2,\xff\n")

    with pytest.raises(HistoryError, match=r"h\.csv:32: is not UTF-8"):
        load_in_chunks(monkeypatch, path, 20)


def test_a_first_line_with_a_mark_of_its_encoding_and_no_end_of_the_last_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    path.write_bytes("\ufefftime,a\n1,5".encode())

    assert list(page_contents(loader.load([str(path)])).values()) == [[(1_000, "5.0")]]


def test_many_quotes_that_never_close_are_an_error_and_not_an_hour() -> None:
    chunks = iter([Chunk(1, "time,a\n"), Chunk(2, '1,"' + "2\n" * 100_000)])

    with pytest.raises(HistoryError):
        csv_format.parse_csv("h.csv", chunks, PageBuilder("x"))


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00.125Z",
        "2028-02-29T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "1969-01-01T00:00:00Z",
        "2026-01-31T12:00:60Z",
    ],
)
def test_times_in_a_column_are_the_times_of_parse_time(text: str) -> None:
    found = csv_format._parse_utc_times([text, text])
    try:
        expected = [parse_time(text)] * 2
    except ValueError:
        assert found is None
    else:
        assert found is not None
        assert found.tolist() == expected
