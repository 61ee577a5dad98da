"""A bot's token: in the configuration or in a file, and never shown."""

from __future__ import annotations

import re

from pydantic import SecretStr

from watchdog.core.errors import NotifyError
from watchdog.net import secrets


def validate_token(token: SecretStr | None, pattern: re.Pattern[str], description: str) -> SecretStr | None:
    """A token written in the file itself; ValueError, without it, when it cannot be one."""
    if token is not None and not pattern.fullmatch(token.get_secret_value().strip()):
        raise ValueError(f"this is no {description} — check that it was copied whole")
    return token


def load_token(
    token: SecretStr | None, token_file: str | None, pattern: re.Pattern[str], description: str, key: str = "token_file"
) -> str:
    """The token itself; from its file it is read when it is needed. Raises NotifyError, which never quotes it.
    `key`: what the file is called in the configuration."""
    if token is not None:
        return token.get_secret_value().strip()
    try:
        return secrets.read_token(token_file or "", key, pattern=pattern, description=description)
    except secrets.SecretError as error:
        raise NotifyError(str(error)) from None
