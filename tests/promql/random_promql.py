"""Random series and random expressions over them, from a seed: the same seed gives the same."""

from __future__ import annotations

import math
from random import Random

from tests.support.series_builders import series_key
from watchdog.core.model import Labels

START = 1_600_000_000_000
"""ms; before it there is nothing."""
LENGTH = 3_600_000

COUNTERS, GAUGES = ("c", "d"), ("g", "h")


def random_series(random: Random) -> dict[Labels, dict[int, float]]:
    """Counters with resets, gauges with strange values, one classic histogram. Times are odd milliseconds."""
    samples: dict[Labels, dict[int, float]] = {}
    for name in (*COUNTERS, *GAUGES):
        for x in "123":
            for y in random.choice(("1", "12", "ab")):
                samples[series_key(f"{name}{{x={x},y={y}}}")] = _points(random, counter=name in COUNTERS)
    for x in "12":
        times = _times(random)
        counts = [0.0] * 5
        for t in times:
            for at in range(random.randrange(5), 5):
                counts[at] += random.randrange(4)
            for bound, at in zip(("0.1", "0.5", "1", "5", "+Inf"), range(5), strict=True):
                samples.setdefault(series_key(f"b{{x={x},le={bound}}}"), {})[t] = sum(counts[: at + 1])
    return samples


def _times(random: Random) -> list[int]:
    step = random.choice((5_000, 15_000, 15_000, 60_000, 61_000))
    jitter = random.choice((0, 0, 700))
    t, times = START + random.randrange(1, 60_000, 2), []
    while t < START + LENGTH:
        times.append(t)
        t += step + 2 * random.randint(-jitter, jitter)
        if random.random() < 0.01:
            t += 2 * random.randrange(30_000, 400_000)  # a gap
    return times


def _points(random: Random, *, counter: bool) -> dict[int, float]:
    points, v = {}, random.choice((0.0, 5.0, 1e6, 0.25))
    kind = random.choice(("walk", "walk", "whole", "constant", "strange"))
    for t in _times(random):
        if counter:
            v = 0.0 if random.random() < 0.02 else v + random.choice((0, 0, 1, 3, random.random() * 10))
            points[t] = v
            continue
        if kind == "walk":
            v += random.uniform(-1, 1)
        elif kind == "whole":
            v = float(random.randint(-3, 3))
        points[t] = v
        if kind == "strange" and random.random() < 0.1:
            points[t] = random.choice((math.nan, math.inf, -math.inf, -v, 0.0, 1e100))
    return points


class ExpressionGenerator:
    """Writes expressions. Only what both engines read, and what has one right answer: ties, say, do not."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def expression(self, depth: int = 3) -> str:
        return self.vector(depth) if self.random.random() < 0.95 else self.scalar(depth)

    def choose(self, *words: str) -> str:
        return self.random.choice(words)

    def duration(self) -> str:
        return self.choose("17s", "1m", "2m7s", "5m", "11m", "30m")

    def modifiers(self) -> str:
        offset = self.choose("", "", "", "", " offset 1m3s", " offset -2m1s", " offset 13m")
        at = self.choose(
            "", "", "", "", "", f" @ {START // 1_000 + self.random.randrange(3_600)}.2", " @ end()", " @ start()"
        )
        return offset + at if self.random.random() < 0.5 else at + offset

    def selector(self, names: tuple[str, ...] = COUNTERS + GAUGES) -> str:
        matchers = self.choose(
            "", "", "", '{x="1"}', '{x!="1"}', '{x=~"1|2",y!~"b.*"}', '{y=~".+"}', '{z=""}', '{x="1",y="1"}'
        )
        return self.random.choice(names) + matchers

    def range_vector(self, depth: int, names: tuple[str, ...] = COUNTERS + GAUGES) -> str:
        if depth > 0 and self.random.random() < 0.3:
            return f"({self.stable_vector(depth - 1)})[{self.duration()}:{self.choose('', '10s', '37s', '1m')}]{self.modifiers()}"
        return f"{self.selector(names)}[{self.duration()}]{self.modifiers()}"

    def stable_vector(self, depth: int) -> str:
        """Without a regression: its last places are noise, and how often they change is a matter of luck."""
        while "deriv" in (text := self.vector(depth)) or "predict_linear" in text:
            pass
        return text

    def scalar(self, depth: int) -> str:
        if depth > 0 and self.random.random() < 0.4:
            one, two = self.scalar(depth - 1), self.scalar(depth - 1)
            op = self.choose("+", "-", "*", "/", "%", "^", "> bool", "== bool", "<= bool", "atan2")
            return self.choose(f"({one} {op} {two})", f"scalar({self.vector(depth - 1)})", f"-({one})")
        return self.choose("0", "1", "2", "0.5", "-1.5", "1e3", "NaN", "Inf", "pi()", "time()")

    def grouping(self) -> str:
        return self.choose(
            "", "", " by (x)", " by (y)", " by (x, y)", " without (x)", " without (y)", " by ()", " without ()"
        )

    def vector(self, depth: int) -> str:
        if depth <= 0:
            return self.selector() + self.modifiers()
        kinds = (
            self.instant_selector,
            self.over_time,
            self.over_time,
            self.math,
            self.binary,
            self.binary,
            self.aggregation,
            self.aggregation,
            self.special,
        )
        return self.random.choice(kinds)(depth - 1)

    def instant_selector(self, depth: int) -> str:
        return self.selector() + self.modifiers()

    def over_time(self, depth: int) -> str:
        if self.random.random() < 0.3:
            return f"{self.choose('rate', 'increase', 'irate', 'resets')}({self.range_vector(depth, COUNTERS)})"
        q = self.choose("0", "0.3", "0.5", "0.99", "1", "-1", "2")
        func = self.choose(
            "avg",
            "sum",
            "min",
            "max",
            "count",
            "last",
            "present",
            "absent",
            "stddev",
            "stdvar",
            "quantile",
            "",
            "",
            "",
            "",
        )
        if func == "quantile":
            return f"quantile_over_time({q}, {self.range_vector(depth)})"
        if func:
            return f"{func}_over_time({self.range_vector(depth)})"
        func = self.choose("delta", "idelta", "changes", "deriv", "predict_linear")
        return f"{func}({self.range_vector(depth)}{', 300' if func == 'predict_linear' else ''})"

    def math(self, depth: int) -> str:
        inner = self.vector(depth)
        func = self.choose(
            "abs",
            "ceil",
            "floor",
            "sqrt",
            "exp",
            "ln",
            "log2",
            "log10",
            "sgn",
            "sin",
            "cos",
            "atan",
            "tanh",
            "asinh",
            "deg",
            "rad",
            "round",
            "minute",
            "hour",
            "day_of_week",
            "day_of_month",
            "day_of_year",
            "days_in_month",
            "month",
            "year",
            "sort",
            "sort_desc",
        )
        if func in ("minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year"):
            return f"{func}({self.choose('', f'vector({START // 1_000}) + (clamp({inner}, -1e6, 1e6) < Inf) * 1000')})"
        plain = self.selector() + self.choose("", " offset 1m3s", " @ end()", f" @ {START // 1_000 + 1_999}.2")
        return self.choose(
            f"{func}({inner})",
            f"{func}({inner})",
            f"timestamp({plain})",
            f"timestamp(-({inner}))",
            f"clamp({inner}, {self.scalar(0)}, {self.scalar(0)})",
            f"-({inner})",
            f"clamp_min({inner}, {self.scalar(1)})",
            f"clamp_max({inner}, {self.scalar(1)})",
            f"round({inner}, 0.25)",
        )

    def binary(self, depth: int) -> str:
        one, two = self.vector(depth), self.vector(depth)
        op = self.choose(
            "+", "-", "*", "/", "%", "^", "atan2", ">", "<", ">=", "<=", "==", "!=", "> bool", "== bool", "<= bool"
        )
        if op == "atan2":
            one = f"({one} * 1)"  # 2.x forgets to drop the name
        if self.random.random() < 0.3:
            return self.choose(f"({one} {op} {self.scalar(depth)})", f"({self.scalar(depth)} {op} {one})")
        if self.random.random() < 0.3:
            match = self.choose("", "", " on (x)", " ignoring (y)", " on ()", " on (x, y)")
            return f"({one} {self.choose('and', 'or', 'unless')}{match} {two})"
        shape = self.random.random()
        if shape < 0.3:
            return f"({one} {op} {two})"
        label = self.choose("x", "y")
        few = f"{self.choose('sum', 'max', 'avg')} by ({label}) ({two})"
        if shape < 0.5:
            return f"(sum by ({label}) ({one}) {op} on ({label}) {few})"
        included = self.choose("", "()", "(y)", "(z)")
        match = self.choose(f"on ({label})", f"ignoring ({'y' if label == 'x' else 'x'}, z)")
        if shape < 0.75:
            return f"({one} {op} {match} group_left {included} {few})"
        return f"({few} {op} {match} group_right {included} {one})"

    def aggregation(self, depth: int) -> str:
        inner, by = self.vector(depth), self.grouping()
        op = self.choose(
            "sum",
            "avg",
            "min",
            "max",
            "count",
            "group",
            "stddev",
            "stdvar",
            "quantile",
            "topk",
            "bottomk",
            "count_values",
        )
        if op == "quantile":
            return f"quantile{by} ({self.choose('0', '0.3', '0.5', '1', '-1', '7')}, {inner})"
        if op in ("topk", "bottomk"):
            return f"count{by} ({op}{by} ({self.choose('1', '2', '0', '5')}, {inner}))"
        if op == "count_values":
            label, sign = self.choose("v", "x", "value"), self.choose("", "-")
            return f'count_values{by} ("{label}", {sign}round(clamp({inner}, -1e6, 1e6), 0.5))'
        return f"{op}{by} ({inner})"

    def special(self, depth: int) -> str:
        inner = self.vector(depth)
        buckets = f"{self.choose('rate', 'increase', 'max_over_time')}(b[{self.duration()}]{self.modifiers()})"
        q = self.choose("0", "0.1", "0.5", "0.9", "0.99", "1", "-1", "2", "NaN")
        return self.choose(
            f"absent({inner})",
            f"vector({self.scalar(depth)})",
            f"histogram_quantile({q}, {buckets})",
            f"histogram_quantile({q}, sum by (le) ({buckets}))",
            f"histogram_quantile({q}, b)",
            f'label_replace({inner}, "{self.choose("x", "z", "y")}", "{self.choose("$1", "a${1}b", "", "$2-$1", "$$1")}", '
            f'"{self.choose("x", "y", "w")}", "{self.choose("(.*)", "([12])(.*)", "1", "", "(.)|(..)")}")',
            f'label_join({inner}, "{self.choose("z", "x")}", "{self.choose("-", "")}", "x", "y")',
        )
