"""Numbers as people write and read them: durations, bytes, percentages, limits."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

Unit = str
"""What a KPI's number means: one of UNITS, or the code of a currency, such as USD or USDT."""

UNITS = ("count", "ratio", "percent", "bytes", "seconds", "currency")
"""`ratio` is raw 0..1 and `percent` raw 0..100; both are shown as %. `currency` is money without a name."""

_MAX_FLOAT = sys.float_info.max
_HUGE = 1e15
"""From here on numbers are shown with an exponent, whatever they count."""
_CURRENCY = re.compile(r"[A-Z]{3,5}")

_DURATION_UNITS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
    "y": 31_536_000_000,
}
_BYTE_UNITS = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_DURATION_TEXT = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdwy]))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdwy])")
_NUMBER = r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_QUANTITY = re.compile(rf"\s*({_NUMBER})\s*+([A-Za-z%]*)\s*")
_MULTIPLE_OF_BASELINE = re.compile(rf"\s*({_NUMBER})\s*[x×]\s*baseline\s*")
_PLUS_MINUS = re.compile(r"\s*+(?:baseline\s*+)?(?:±|\+/?-)\s*(\d+(?:\.\d+)?)\s*%.*")
_BASELINE_OFFSET = re.compile(rf"\s*baseline\s*+(?:([+-])\s*({_NUMBER})\s*+([A-Za-z%]*)\s*)?")


def parse_unit(value: object) -> str:
    """Raises ValueError with the cure."""
    if isinstance(value, str) and (value in UNITS or _CURRENCY.fullmatch(value)):
        return value
    near = get_close_matches(str(value), UNITS, 1)
    if not near and _CURRENCY.fullmatch(str(value).upper()):
        near = [str(value).upper()]
    cure = f"did you mean {near[0]}?" if near else f"known: {', '.join(UNITS)}, or the code of a currency such as USD"
    raise ValueError(f"unit cannot be {value} — {cure}")


def parse_duration(value: object) -> int:
    """``1h30m`` → 5_400_000 ms. A bare number is refused: nobody can tell seconds from minutes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value  # milliseconds already: our own defaults, and plans read back from the journal
    text = str(value).strip().replace(" ", "")
    if not _DURATION_TEXT.fullmatch(text):
        raise ValueError(f"a duration reads like 30s, 5m, 1h30m or 7d, not {value!r}")
    millis = sum(float(number) * _DURATION_UNITS[unit] for number, unit in _DURATION_PART.findall(text))
    if millis > 100 * 365 * _DURATION_UNITS["d"]:
        raise ValueError(f"{value!r} is longer than a hundred years — check its unit")
    return round(millis)


def format_promql_duration(millis: int) -> str:
    """5_400_000 → ``1h30m``: exact, and as Prometheus and our own files write it."""
    text = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        amount, millis = divmod(millis, size)
        text += f"{amount}{unit}" if amount else ""
    return text or "0s"


def format_duration(millis: float) -> str:
    """200_000 → ``3 m 20 s``: the two largest units that say something."""
    if not math.isfinite(millis):
        return describe_not_finite(millis)
    if abs(millis) < 1_000:
        return f"{millis:.0f} ms"
    left, parts = round(abs(millis) / 1_000), []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        amount, left = divmod(left, size)
        if amount:
            parts.append(f"{amount} {unit}")
    sign = "-" if millis < 0 else ""
    return sign + " ".join(parts[:2] or ["0 s"])


def describe_not_finite(value: float) -> str:
    """What a value is that is no number: nothing divided by nothing, or something by nothing."""
    return "no number (0/0)" if value != value else "infinite" if value > 0 else "minus infinite"


def json_number(value: float) -> float | str:
    """NaN and the infinities as Prometheus writes them: JSON has no numbers for them."""
    return value if math.isfinite(value) else "NaN" if value != value else "+Inf" if value > 0 else "-Inf"


def with_json_numbers(value: Any) -> Any:
    """JSON in which no number is NaN or infinite, see `json_number`."""
    if isinstance(value, float):
        return json_number(value)
    if isinstance(value, Mapping):
        return {name: with_json_numbers(each) for name, each in value.items()}
    return [with_json_numbers(each) for each in value] if isinstance(value, list | tuple) else value


def format_value(value: float | None, unit: Unit, figures: int = 3) -> str:
    """A raw value as people read it: ``15.2 %``, ``1.4 GiB``, ``3 m 20 s``, ``5``. `figures`: at least so many that count."""
    if value is None:
        return "no value"
    if not math.isfinite(value):
        return describe_not_finite(value)
    match unit:
        case "ratio":
            return f"{_format_number(max(-_MAX_FLOAT, min(_MAX_FLOAT, value * 100)), figures)} %"
        case "percent":
            return f"{_format_number(value, figures)} %"
        case "seconds":
            return _format_seconds(value, figures)
        case "bytes":
            return _format_bytes(value, figures)
        case "count":
            return _format_number(value, figures)
    amount = _format_number(value, figures)
    if not 0 < abs(_number(amount)) < 0.1 and abs(value) < _HUGE:  # 0.00042 BTC is not nothing
        amount = f"{value:,.{figures - 1}f}"
    return amount if unit == "currency" else f"{amount} {unit}"


def format_apart(values: Sequence[float | None], unit: Unit) -> list[str]:
    """As `format_value`, in as many figures as it takes that what differs looks different: ``10.04 s`` beside ``10 s``."""
    for figures in range(3, 18):
        texts = [format_value(value, unit, figures) for value in values]
        if len(set(texts)) >= len({"nan" if value != value else value for value in values}):
            return texts
    return [repr(value) for value in values]


def format_durations_apart(*millis: int) -> list[str]:
    """As `format_duration`, with what they differ by: ``10.4 s`` beside ``10 s``."""
    texts = [format_duration(each) for each in millis]
    return texts if len(set(texts)) == len(set(millis)) else format_apart([each / 1_000 for each in millis], "seconds")


def _format_bytes(value: float, figures: int) -> str:
    if figures == 3 and abs(value) < 999.5:
        return f"{value:.0f} B"
    for name in ("B", "KiB", "MiB", "GiB"):
        number = _format_number(value / _BYTE_UNITS[name], figures)
        if abs(_number(number)) < 1024:
            return f"{number} {name}"
    return f"{_format_number(value / _BYTE_UNITS['TiB'], figures)} TiB"


def _format_seconds(value: float, figures: int) -> str:
    """Under a minute three figures: 1.6 s is above 1.5 s, and not 2 s above 2 s."""
    if value == 0:
        return "0 s"
    for name, size, most in (("µs", 1e-6, 1_000), ("ms", 1e-3, 1_000), ("s", 1.0, 60)):
        number = _format_number(value / size, figures)
        if abs(_number(number)) < most:
            return f"{number} {name}"
    if abs(value) >= _HUGE:
        return f"{_format_number(value, figures)} s"
    if figures == 3:
        return format_duration(value * 1_000)
    decimals = max(0, figures - 4)
    ticks, parts = round(abs(value) * 10**decimals), []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        amount, ticks = divmod(ticks, size * 10**decimals)
        parts += [f"{amount} {unit}"] if amount else []
    parts += [f"{_strip_zeros(f'{ticks / 10**decimals:.{decimals}f}')} s"] if ticks else []
    return ("-" if value < 0 else "") + " ".join(parts)


def _format_number(value: float, figures: int = 3) -> str:
    """So many figures or one more, no trailing zeros, thousands set apart; an exponent only where nothing else would be left."""
    if value == 0 or abs(value) >= _HUGE or abs(value) < 1e-9:
        return f"{value:.{figures}g}"
    digits = max(0, figures - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}" if abs(value) >= 10_000 else f"{value:.{min(digits, figures + 6)}f}"
    return _strip_zeros(text)


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _strip_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def parse_quantity(value: object, unit: Unit, *, is_difference: bool = False) -> float:
    """``10%``, ``512MiB``, ``30s``, ``5`` as a raw value of that unit.

    `is_difference`: the quantity is added to a baseline, so a share must be said in points (``5pp``), never in ``%``.
    Raises ValueError with the cure when the unit does not fit.
    """
    match_ = _QUANTITY.fullmatch(str(value)) if not isinstance(value, bool) else None
    if match_ is None and unit == "seconds" and _DURATION_TEXT.fullmatch(str(value).strip()):
        return parse_duration(value) / 1_000  # 1h30m, as everywhere else
    if match_ is None or not math.isfinite(float(match_[1])):
        raise ValueError(f"{value!r} is no quantity — {_expected_hint(unit)}")
    number, suffix = float(match_[1]), match_[2]
    share = unit in ("ratio", "percent")
    if share and is_difference:
        if suffix == "pp":
            return number / 100 if unit == "ratio" else number
        raise ValueError(f"{value!r} beside a baseline is ambiguous — say {match_[1]}pp (points), or 0.95x baseline")
    if share:
        if suffix == "%":
            return number / 100 if unit == "ratio" else number
        if not suffix:
            guess = number * 100 if abs(number) <= 1 else number
            raise ValueError(f"a bare number on a {unit} is ambiguous — say {guess:g}%")
    elif unit == "bytes" and suffix in _BYTE_UNITS:
        return number * _BYTE_UNITS[suffix]
    elif unit == "seconds" and suffix in _DURATION_UNITS:
        return number * _DURATION_UNITS[suffix] / 1_000
    elif (unit not in UNITS and suffix in ("", unit)) or (unit in ("count", "currency") and not suffix):
        return number
    raise ValueError(f"unit {suffix or 'missing'!r} does not fit a KPI in {unit} — {_expected_hint(unit)}")


def _expected_hint(unit: Unit) -> str:
    return {
        "ratio": "say a share such as 10%",
        "percent": "say a share such as 10%",
        "bytes": "say a size such as 512MiB",
        "seconds": "say a duration such as 30s",
        "count": "say a plain number such as 5",
        "currency": "say a plain number such as 250.00",
    }.get(unit, f"say an amount such as 250 {unit}")


@dataclass(frozen=True, slots=True)
class Limit:
    """``10%``, ``2x baseline`` or ``baseline - 5pp`` in numbers: ``factor × baseline + offset``."""

    text: str
    factor: float
    offset: float

    def value(self, baseline: float | None) -> float:
        """The raw limit. Raises ValueError when it needs a baseline that is not there."""
        if not self.factor:
            return self.offset
        if baseline is None:
            raise ValueError(f"{self.text!r} needs a baseline — give the KPI one")
        return self.factor * baseline + self.offset


def is_relative(value: object) -> bool:
    """Whether a limit as written leans on a baseline."""
    return _MULTIPLE_OF_BASELINE.fullmatch(str(value)) is not None or _BASELINE_OFFSET.fullmatch(str(value)) is not None


def parse_limit(value: object, unit: Unit, baseline: float | None, *, dynamic_baseline: bool = False) -> Limit:
    """A limit as written, checked against its KPI's unit and baseline. Raises ValueError with the cure.

    `dynamic_baseline`: the baseline is captured or learned. Then it may not be known yet, and may be anything; a multiple of one
    that is not above zero gives a limit of NaN.
    """
    text = str(value)
    if multiple := _MULTIPLE_OF_BASELINE.fullmatch(text):
        if dynamic_baseline:
            return Limit(text, float(multiple[1]) if baseline is None or baseline > 0 else math.nan, 0.0)
        if baseline is None:
            raise ValueError(f"{text!r} needs a baseline — give the KPI one")
        if baseline <= 0:
            raise ValueError(f"{text!r} needs a baseline above zero — use baseline + or - an amount")
        return Limit(text, float(multiple[1]), 0.0)
    if offset := _BASELINE_OFFSET.fullmatch(text):
        if baseline is None and not dynamic_baseline:
            raise ValueError(f"{text!r} needs a baseline — give the KPI one")
        amount = parse_quantity(f"{offset[2]}{offset[3]}", unit, is_difference=True) if offset[1] else 0.0
        return Limit(text, 1.0, -amount if offset[1] == "-" else amount)
    if share := _PLUS_MINUS.fullmatch(text):
        raise ValueError(
            f"{text!r} has two meanings — say outside: [baseline - {share[1]}pp, baseline + {share[1]}pp] "
            f"(points), or outside: [{_format_factor(1 - float(share[1]) / 100)}x baseline, "
            f"{_format_factor(1 + float(share[1]) / 100)}x baseline]"
        )
    return Limit(text, 0.0, parse_quantity(value, unit))


def _format_factor(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")
