"""Which files a command line executes, as far as it can be told by looking at it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from watchdog.host import child_process

_INTERPRETER = re.compile(
    r"(ba|da|z|k|a)?sh|busybox|python[\d.]*|pypy[\d.]*|perl|ruby|node|deno|bun|php|lua|Rscript|java"
)


def executed_files(argv: Sequence[str], cwd: str | None, env: Mapping[str, str] | None = None) -> list[Path]:
    """The program, the folders of PATH in which it is looked for ahead of its own, and the scripts among its arguments.

    A script is what an interpreter is told to read first, and any other argument that is an executable file (`timeout 30
    ./stop.sh`). Of ``python -m`` it is the folder it runs in. Empty when there is no such program: then nothing is executed.
    """
    program = child_process.find_program(argv[0], cwd, env) if argv else None
    if program is None:
        return []
    folder = Path(cwd or "/")
    found = [*_folders_ahead(argv[0], program, env), folder / program]
    may_be_script = _is_interpreter(argv[0]) or _is_interpreter(Path(program).resolve().name)
    for argument in argv[1:]:
        path = folder / argument
        if may_be_script and argument == "-m":
            found.append(folder)
        elif argument.startswith("-"):
            continue
        elif _is_file(path) and (may_be_script or os.access(path, os.X_OK)):
            found.append(path)
            may_be_script = False
        may_be_script |= _is_interpreter(argument)  # env A=b sh stop.sh
    return found


def _folders_ahead(program: str, found: str, env: Mapping[str, str] | None) -> list[Path]:
    """Whoever can write one of those puts another program first."""
    if "/" in program:
        return []
    folders = [Path(folder) for folder in child_process.search_path(env).split(os.pathsep) if folder]
    place = Path(found).parent
    ahead = folders[: folders.index(place)] if place in folders else folders
    return [folder for folder in ahead if folder.is_dir()]


def _is_interpreter(program: str) -> bool:
    return _INTERPRETER.fullmatch(Path(program).name) is not None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False  # too long for a name, or an odd character: an argument, and no path
