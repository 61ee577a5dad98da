"""How many examples a property test that sets a number of its own tries."""

from __future__ import annotations

from hypothesis import settings

_FULL = 100
"""What hypothesis tries, and `make test-all`, where nothing is said."""


def examples(number: int) -> int:
    """So many in `make test-all`, and a fifth of them in `make test`: see the profiles in tests/conftest.py."""
    assert settings.default is not None
    return max(number * settings.default.max_examples // _FULL, 2)
