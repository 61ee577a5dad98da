"""Folding windows: one tree of merges for a window of so many samples, whoever asks.

The tree is the binary one: neighbours are merged in pairs, pairs of pairs, and so on; what is left over at the right end
of a window joins in from the right. Its shape depends on the number of samples in the window and on nothing else: not on
where the window lies, not on what is asked beside it. So an answer is the same bits however it was come by, and nothing
outside of a window ever touches it. A window that moves on shares all but a few of its merges with the one before: many
windows are folded in one pass over the samples for each level of the tree.

What is folded is a node: a tuple of arrays, such as a sum, or a count of samples with their mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from watchdog.tsdb.page import Floats, Ints

FoldNode = tuple[Floats, ...]
Combine = Callable[[FoldNode, Any, FoldNode, Any], FoldNode]
"""Left node, of how many samples, right node, of how many. The two numbers are equal ints but for what is left over,
where the left one is the greater, and either may be an array."""


def fold(leaf: FoldNode, merge: Combine, *, scalar_combine: bool = False) -> FoldNode:
    """One window of several rows: [rows, n] each → [rows] each. `scalar_combine`: `merge` takes floats as well as arrays."""
    n, size = leaf[0].shape[-1], 1
    rest: FoldNode | None = None
    held = 0
    while True:
        if scalar_combine and n <= _SCALAR_FOLD_SIZE and len(leaf[0]) == 1:
            return _fold_floats(list(zip(*(x[0].tolist() for x in leaf), strict=True)), size, rest, held, merge)
        if n & 1:
            last = tuple(x[..., n - 1] for x in leaf)
            rest = last if rest is None else merge(last, size, rest, held)
            held += size
        n >>= 1
        if not n:
            assert rest is not None
            return rest
        leaf = merge(tuple(x[..., 0 : 2 * n : 2] for x in leaf), size, tuple(x[..., 1 : 2 * n : 2] for x in leaf), size)
        size *= 2


def _fold_floats(nodes: list[Any], size: int, rest: Any, held: int, merge: Combine) -> FoldNode:
    """The upper levels of one row's tree."""
    if rest is not None:
        rest = tuple(float(x[0]) for x in rest)
    n = len(nodes)
    while True:
        if n & 1:
            rest = nodes[n - 1] if rest is None else merge(nodes[n - 1], size, rest, held)
            held += size
        n >>= 1
        if not n:
            return tuple(np.array([x]) for x in rest)
        nodes = [merge(nodes[i], size, nodes[i + 1], size) for i in range(0, 2 * n, 2)]
        size *= 2


def fold_sliding(leaf: FoldNode, n: int, merge: Combine) -> FoldNode:
    """All windows of `n` samples that follow each other: [m] each → [m - n + 1] each."""
    many, size, count = leaf[0].size - n + 1, 1, n
    rest: FoldNode | None = None
    held = 0
    while True:
        if count & 1:
            at = (count - 1) * size
            piece = tuple(x[at : at + many] for x in leaf)
            rest = piece if rest is None else merge(piece, size, rest, held)
            held += size
        count >>= 1
        if not count:
            assert rest is not None
            return rest
        leaf = merge(tuple(x[:-size] for x in leaf), size, tuple(x[size:] for x in leaf), size)
        size *= 2


def sum_sliding(x: Floats, n: int) -> Floats:
    """`fold_sliding` with `add`, in buffers that stay in the cache."""
    many, size, count = x.size - n + 1, 1, n
    rest = None
    result, here, there, other = _aligned_buffers(4, x.size)
    while True:
        if count & 1:
            piece = x[(count - 1) * size :][:many]
            if rest is None:
                rest, there = piece, other  # the piece stays where it is
            else:
                rest = np.add(piece, rest, out=result[:many])
        count >>= 1
        if not count:
            assert rest is not None
            return rest
        x = np.add(x[:-size], x[size:], out=here[: x.size - size])
        here, there = there, here
        size *= 2


def _aligned_buffers(count: int, size: int) -> list[Floats]:
    """So many empty arrays that begin where a line of the cache does: adding is twice as fast there."""
    wide = -(-size // 8) * 8
    room = np.empty(count * wide + 7)
    first = -(room.__array_interface__["data"][0] // 8) % 8
    return [room[start : start + size] for start in range(first, first + count * wide, wide)]


def fold_windows(leaf: FoldNode, firsts: Ints, counts: Ints, merge: Combine) -> FoldNode:
    """Any windows: [m] each → [windows] each. `firsts`: where each begins; `counts`: how many samples, at least one."""
    top = int(counts.max(initial=1))
    least = int(counts.min(initial=top))
    if top - least < _MAX_LENGTHS:
        return _fold_lengths(leaf, firsts, counts, range(least, top + 1), merge)
    size = 1
    rest = tuple(np.empty(firsts.size, x.dtype) for x in leaf)
    while size <= top:
        which = np.flatnonzero(counts & size)
        if which.size:
            mine = counts[which]
            at: Ints = firsts[which] + (mine & -(2 * size))
            held: Ints = mine & (size - 1)
            piece = tuple(x[at] for x in leaf)
            begun = held > 0
            if not begun.all():
                alone = ~begun
                for x, part in zip(rest, piece, strict=True):
                    x[which[alone]] = part[alone]
                which, held, piece = which[begun], held[begun], tuple(part[begun] for part in piece)
            if which.size:
                for x, part in zip(rest, merge(piece, size, tuple(x[which] for x in rest), held), strict=True):
                    x[which] = part
        if 2 * size <= top:
            leaf = merge(tuple(x[:-size] for x in leaf), size, tuple(x[size:] for x in leaf), size)
        size *= 2
    return rest


_MAX_LENGTHS = 12
"""Windows of so many lengths: each length is folded everywhere, and read off where it is asked for."""


def _fold_lengths(leaf: FoldNode, firsts: Ints, counts: Ints, lengths: range, merge: Combine) -> FoldNode:
    whole, size = leaf[0].size, 1
    rest: dict[int, FoldNode] = {}
    while size <= lengths[-1]:
        for n in lengths:
            if n & size:
                off = n & -(2 * size)
                piece = tuple(x[off : off + whole - n + 1] for x in leaf)
                rest[n] = merge(piece, size, rest[n], n & (size - 1)) if n in rest else piece
        if 2 * size <= lengths[-1]:
            leaf = merge(tuple(x[:-size] for x in leaf), size, tuple(x[size:] for x in leaf), size)
        size *= 2
    if len(lengths) == 1:
        return tuple(x[firsts] for x in rest[lengths[0]])
    wide = whole - lengths[0] + 1
    places = (counts - lengths[0]) * wide + firsts
    result = []
    for i, x in enumerate(leaf):
        table = np.empty((len(lengths), wide), x.dtype)
        for row, n in zip(table, lengths, strict=True):
            row[: max(0, whole - n + 1)] = rest[n][i]
        result.append(table.take(places, mode="clip"))
    return tuple(result)


# ─ what is folded ─


def fold_sum(w: Floats) -> Floats:
    """`fold` with `add`, said shorter: [rows, n] → [rows]."""
    n = w.shape[1]
    if len(w) != 1:
        return fold((w,), add)[0]
    x, rest, begun = w[0], 0.0, False
    while n > _SCALAR_FOLD_SIZE:
        if n & 1:
            rest, begun = float(x[n - 1]) + rest if begun else float(x[n - 1]), True
        n >>= 1
        x = x[0 : 2 * n : 2] + x[1 : 2 * n : 2]
    plain = x.tolist()
    while True:
        if n & 1:
            rest, begun = plain[n - 1] + rest if begun else plain[n - 1], True
        n >>= 1
        if not n:
            return np.array([rest])
        plain = [plain[i] + plain[i + 1] for i in range(0, 2 * n, 2)]


_SCALAR_FOLD_SIZE = 24
"""So few floats are added faster one by one."""


def add(left: FoldNode, _: object, right: FoldNode, __: object) -> FoldNode:
    """Sums."""
    return (left[0] + right[0],)


def add_compensated(left: FoldNode, _: object, right: FoldNode, __: object) -> FoldNode:
    """Sums with what rounding took from them: as if summed with twice the digits."""
    (a, low_a), (b, low_b) = left, right
    s = a + b
    back = s - a
    return s, (low_a + low_b) + ((a - (s - back)) + (b - back))


def combine_moments(left: FoldNode, m: Any, right: FoldNode, n: Any) -> FoldNode:
    """Sums, and sums of squared distances from the mean. Nothing but squares is added, so nothing cancels out."""
    (a, far_a), (b, far_b) = left, right
    if m is n:
        apart = a - b
        return a + b, (far_a + far_b) + apart * apart * (0.5 / m)
    apart = a / m - b / n
    return a + b, (far_a + far_b) + apart * apart * (m * n / (m + n))
