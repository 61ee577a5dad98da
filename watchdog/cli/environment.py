"""The environment of the service, for the commands: what `EnvironmentFile=` of the shipped unit names is read by them, too."""

from __future__ import annotations

import os
from pathlib import Path

from watchdog.cli.output import print_line

ENVIRONMENT_FILE = "environment"
"""Beside watchdog.yaml."""


def add_service_environment(config: Path) -> None:
    """What the file beside this configuration says becomes part of our environment; what that has already, it keeps.

    The file is root's: who may not read it gets on without. Whoever could write it would choose which programs are run and to
    whom is told; so it is read by who trusts it alone.
    """
    path = Path(config if os.path.isdir(config) else config.parent, ENVIRONMENT_FILE).absolute()  # noqa: PTH112 - what cannot be looked at is none
    if not (os.path.isfile(path) and os.access(path, os.R_OK)):  # noqa: PTH113 - as above
        return
    from watchdog.host.environment_file import parse_environment  # what most commands do without
    from watchdog.net.secrets import SecretError, read_secret

    try:
        found = parse_environment(read_secret(str(path), "the file"))
    except SecretError as error:
        print_line(f"note: {error}", is_error=True)
        return
    for name, value in found.items():
        os.environ.setdefault(name, value)
