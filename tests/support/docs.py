"""What the pages and the code of every source, channel and action must say to people."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

ROOT = Path(__file__).parents[2]


def undocumented_fields(model_class: type[BaseModel]) -> list[str]:
    """Its keys without a docstring under them."""
    bases = [each for each in model_class.__mro__ if each.__module__.startswith("watchdog.")]
    text = "\n".join(map(inspect.getsource, bases))
    return [
        name
        for name in model_class.model_fields
        if name not in ("type", "do") and not re.search(rf'^    {name}: .*\n    """', text, re.MULTILINE)
    ]


def yaml_examples(page: str, section: str) -> Iterator[dict[str, Any]]:
    """What the YAML blocks of a page in docs/ hold in that section; there is at least one block."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        yield from yaml.safe_load(block)[section].values()
