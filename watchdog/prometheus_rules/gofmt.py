"""Values as Go prints them: what stands in the annotations of Prometheus is compared text by text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

_VERB = re.compile(r"%(?P<flags>[-+# 0]*)(?P<width>\d+)?(?:\.(?P<precision>\d*))?(?P<verb>.)?", re.DOTALL)
_GO_TYPES = {bool: "bool", int: "int", float: "float64", str: "string"}


def format_value(value: object) -> str:
    """``%v``."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case float():
            return format_float(value)
        case Mapping():
            return "map[" + " ".join(f"{key}:{format_value(value[key])}" for key in sorted(value)) + "]"
        case str():
            return value
        case Sequence():
            return "[" + " ".join(map(format_value, value)) + "]"
    return str(value)


def format_float(value: float) -> str:
    """``%v`` and ``%g`` of a float: the fewest digits that say it, with an exponent from 1e+06 on and below 1e-4."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    sign, digits, exponent = _digits(value)
    if value == 0:
        return sign + "0"
    if exponent < -4 or exponent >= 6:
        mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
        return f"{sign}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if exponent < 0:
        return sign + "0." + "0" * (-exponent - 1) + digits
    if len(digits) <= exponent + 1:
        return sign + digits.ljust(exponent + 1, "0")
    return sign + digits[: exponent + 1] + "." + digits[exponent + 1 :]


def _digits(value: float) -> tuple[str, str, int]:
    text = f"{abs(value)!r}"
    mantissa, _, power = text.partition("e")
    whole, _, part = mantissa.partition(".")
    digits = (whole + part).lstrip("0")
    leading = len(whole + part) - len(digits)
    exponent = len(whole) - 1 - leading + int(power or 0)
    return "-" if math.copysign(1, value) < 0 else "", digits.rstrip("0") or "0", exponent


def format_4g(value: float) -> str:
    """``%.4g``."""
    return format_float(value) if not math.isfinite(value) else f"{value:.4g}"


def printf(format_: str, *args: object) -> str:
    left = list(args)

    def one(found: re.Match[str]) -> str:
        verb = found["verb"]
        if verb == "%":
            return "%"
        if verb is None:
            return "%!(NOVERB)"
        if not left:
            return f"%!{verb}(MISSING)"
        text = _format_verb(verb, found, left.pop(0))
        width = int(found["width"] or 0)
        if "-" in found["flags"]:
            return text.ljust(width)
        if "0" in found["flags"] and text[-1:].isdigit():
            sign = text[0] if text[:1] in ("-", "+") else ""
            return sign + text[len(sign) :].rjust(width - len(sign), "0")
        return text.rjust(width)

    text = _VERB.sub(one, format_)
    if left:
        text += "%!(EXTRA " + ", ".join(f"{_go_type(each)}={format_value(each)}" for each in left) + ")"
    return text


def _go_type(value: object) -> str:
    return _GO_TYPES.get(type(value), "interface {}")


def _format_verb(verb: str, found: re.Match[str], value: object) -> str:
    flags, precision = found["flags"], found["precision"]
    plus = "+" if "+" in flags else " " if " " in flags else ""
    number = isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool))
    if verb in "eEfFgG" and isinstance(value, float):
        if not math.isfinite(value):
            text = format_float(value)
            return text if text.startswith(("-", "+")) or plus != "+" else "+" + text
        if precision is None and verb in "gG":
            text = format_float(value)
            return plus + text if value >= 0 else text
        return f"{value:{plus}.{6 if precision is None else int(precision or 0)}{verb}}"
    if verb == "v":
        text = format_value(value)
        return "+" + text if plus == "+" and number and not text.startswith(("-", "+")) else text
    if verb == "s" and isinstance(value, str):
        return value if precision is None else value[: int(precision or 0)]
    if verb == "q" and isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'
    if verb in "dxXob" and isinstance(value, int) and not isinstance(value, bool):
        return f"{value:{plus}{verb}}"
    if verb == "t" and isinstance(value, bool):
        return format_value(value)
    if verb == "T":
        return _go_type(value)
    if verb == "s" and not number:
        return format_value(value)
    return f"%!{verb}({_go_type(value)}={format_value(value)})"
