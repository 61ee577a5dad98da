"""Whether a process is a target's bot: by its account, its folder, its program and its command together.

Each of them is what others may have as well: a number is used again, and the bot next door runs the same ``python bot.py``
in another folder. No time is looked at: clocks are set, and files are touched, copied and restored. What cannot be
compared speaks neither for it nor against it: such a process is `doubtful`, and left alone.
"""

# Words of a command line need not be paths: they are texts throughout.
# ruff: noqa: PTH113, PTH115, PTH116, PTH117, PTH118, PTH119, PTH120, PTH121, PTH123

from __future__ import annotations

import contextlib
import os
import re
import shlex
import time
from collections.abc import Mapping, Sequence, Set
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Literal, NamedTuple

from watchdog.core.errors import ActionError
from watchdog.core.target import ProcessSpec
from watchdog.host import child_process
from watchdog.host.folder import resolve
from watchdog.host.pid_file import read_file
from watchdog.host.process_table import (
    PROC,
    RunningProcess,
    read_accounts,
    read_environment,
    read_program,
    read_words,
)
from watchdog.host.trust import user_name
from watchdog.host.wrapper_script import MAX_SCRIPT, SHELLS, UNKNOWN, StartedCommand, list_started

MARKER = "TRADING_WATCHDOG_BOT"
"""Variable of every bot that we start, and of all that it starts: the full path of its pid file."""

_REMOVE = " — remove the file if that is not the bot"
_EXEC_DELAY = 0.05
"""Seconds in which a process that has just been started gets its arguments."""
_SHELL_WORDS = re.compile(r"[;&|<>$`(){}*?\n]")
"""What makes more of a shell's text than one command."""
_NO_SCRIPT = ("-m", "-c")
"""Options of interpreters behind which a script's name is an argument of something else: ``python -m pdb bot.py``."""


Verdict = Literal["bot", "part", "doubtful", "unlike", "other"]
"""`part`: no bot, and yet of this one, such as a child that it has left behind. `unlike`: there is nothing of the bot about it.
`other`: it surely is something else, such as the same command in another folder."""


class Likeness(NamedTuple):
    verdict: Verdict
    why: str = ""
    """What it is, for people, behind its number."""
    cure: str = ""


class ProcessFacts(NamedTuple):
    """Of a process of our account; None: not readable."""

    pid: int
    words: tuple[str, ...]
    program: str | None
    folder: str | None
    """Path of its working directory, with `` (deleted)`` behind it when that is gone."""
    folder_id: tuple[int, int] | None
    """The same as device and inode."""
    environment: Mapping[str, str] | None

    def describe(self) -> str:
        return f"runs {describe_words(self.words)} in {self.folder or 'a folder that is not readable'}"


def describe_words(words: Sequence[str]) -> str:
    return repr(child_process.last_words(" ".join(words), limit=80))


def read_facts(pid: int) -> ProcessFacts:
    words, program = read_words(pid), read_program(pid)
    if not words and program is not None:  # no thread of the kernel's: it is just putting the program in its place
        time.sleep(_EXEC_DELAY)
        words, program = read_words(pid), read_program(pid)
    at = f"{PROC}/{pid}/cwd"
    folder, folder_id = None, None
    with contextlib.suppress(OSError):
        found = os.stat(at)
        folder, folder_id = os.readlink(at), (found.st_dev, found.st_ino)
    return ProcessFacts(pid, words, program, folder, folder_id, read_environment(pid))


class BotPlace:
    """What the bot of a `ProcessSpec` is known by."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.folder = os.path.normpath(spec.cwd or "/")
        self.real_folder = os.path.realpath(self.folder)

    @cached_property
    def marker(self) -> str:
        return str(resolve(self.spec.cwd, self.spec.pid_file))

    @cached_property
    def folder_id(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.folder)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    @cached_property
    def commands(self) -> Sequence[tuple[str, ...]]:
        """The command, and what it comes to once a wrapper (``nohup``, ``uv run``, ``sh -c``, a script's ``exec``) is gone."""
        command = tuple(self.spec.command)
        found = [command, *(each.words for each in self._started if each.is_it)]
        if len(command) == 3 and command[1] == "-c" and not _SHELL_WORDS.search(command[2]):
            try:
                command = tuple(shlex.split(command[2]))
            except ValueError:
                command = ()
            found.append(command)
        starts = (n for n in range(1, len(command) - 1) if not command[n].startswith("-") and self._program(command[n]))
        return [each for each in (*found, *(command[n:] for n in starts)) if each]

    @cached_property
    def _started(self) -> Sequence[StartedCommand]:
        """What the command starts when it is a shell's text or script."""
        command = tuple(self.spec.command)
        program = self._program(command[0]) if command else None
        shell = program and (program if _family(program) in SHELLS else _interpreter(program))
        if not program or not shell or _family(shell) not in SHELLS:
            return ()
        text, rest = _read_script(program), command[1:]
        if shell == program:
            options = tuple(takewhile(lambda word: word.startswith("-"), rest))
            rest = rest[len(options) :]
            is_text = any(re.fullmatch("-[a-z]*c", each) for each in options)
            text = "" if not rest else rest[0] if is_text else _read_script(_full_path(rest[0], self.folder))
            rest = rest[2 if is_text else 1 :]
        return list_started(text, rest, self.spec.env)

    @cached_property
    def _names(self) -> Mapping[str, Set[str]]:
        """Of the words of what a script starts: what a process that runs it goes by. Looked up once, and not for each process."""
        words = {word for each in self._started for word in each.words}
        return {word: _names_of(self._program(word) or word) for word in words}

    @cached_property
    def files(self) -> Mapping[str, str]:
        """Words of the command that name files, to their full paths; of a link its own."""
        commands = (*self.commands, *(each.words for each in self._started))
        words = {word for command in commands for word in command if not word.startswith("-")}
        paths = {word: _full_path(word, self.folder) for word in words if "\0" not in word and len(word) < 4096}
        return {word: path for word, path in paths.items() if os.path.isfile(path)}

    @cached_property
    def _runs(self) -> Sequence[tuple[tuple[str, ...], tuple[str, ...]]]:
        """Each of the commands, behind the full path of its program and, of a script, its interpreter."""
        found = []
        for command in self.commands:
            program = self._program(command[0])
            interpreter = None if program is None else _interpreter(program)
            programs = (program or command[0],) if interpreter is None else (program or command[0], interpreter)
            found.append((programs, command))
        return found

    @cached_property
    def _own_files(self) -> set[str]:
        return {path for path in self.files.values() if path.startswith(f"{self.real_folder}/")}

    def _program(self, word: str) -> str | None:
        return child_process.find_program(word, self.spec.cwd, self.spec.env)

    def judge(self, process: RunningProcess, known: RunningProcess | None = None, *, named: bool) -> Likeness:
        """Whether that process is the bot. `named`: its pid file says so. `known`: one that was found to be the bot before."""
        pid, accounts = process.pid, read_accounts(process.pid)
        if accounts is None:
            return Likeness("other", "is not there")
        if accounts != (os.geteuid(), os.geteuid()):
            if not named:
                return Likeness("unlike")
            alike = self._compare_command(ProcessFacts(pid, read_words(pid), *[None] * 4)) != "other"
            why = f"belongs to {user_name(accounts[0])} and not to {user_name(os.geteuid())}"
            return Likeness("doubtful" if alike else "unlike", why, f"{_REMOVE}, else say run_as")
        if process == known:
            return Likeness("bot")
        return self.compare(read_facts(pid), named=named)

    def compare(self, facts: ProcessFacts, *, named: bool) -> Likeness:
        """The same of what is known of a process of our account."""
        marker, command = (facts.environment or {}).get(MARKER), self._compare_command(facts)
        if marker == self.marker:
            return Likeness("bot" if named or command == "same" else "part", facts.describe())
        hides_it = command == "other" and self._has_title(facts) and self._runs_program(facts)
        if command == "other" and not named and not hides_it:
            return Likeness("unlike")
        folder = self._compare_folder(facts, named=named)
        if command == "other" and not named and folder != "same":
            return Likeness("unlike")
        cure = f"{_REMOVE if named else ' — end it if that is the bot'}, else say its command and cwd as they are"
        if command == "same" and folder == "same":
            if marker is not None and _holds(marker, facts.pid):
                return Likeness("other", f"is the bot of {marker}")
            variable = self._unlike_variable(facts)
            if variable is None and marker is None:
                return Likeness("bot")
            return Likeness("doubtful", f"{facts.describe()} with another {variable or 'pid file'} than is said", cure)
        if command == "other" and folder != "same" and not self._runs_program(facts):
            return Likeness("unlike", f"runs {describe_words(facts.words)}", _REMOVE)
        if folder == "other":
            return Likeness("other", facts.describe())
        unseen = ", and more of it is not readable" if facts.folder is None or facts.program is None else ""
        return Likeness("doubtful", facts.describe() + unseen, _REMOVE if command == "other" and named else cure)

    def runs_its_program(self, facts: ProcessFacts) -> bool:
        """The same program or script, whatever its further arguments: another bot from the same folder, as a rule."""
        for programs, command in self._runs:
            if _is_program(facts, programs):
                wanted, given = command[1:], self._arguments(facts, programs)
                if not wanted or (given and self._is_same_word(wanted[0], given[0], facts)):
                    return True
        return False

    def _runs_program(self, facts: ProcessFacts) -> bool:
        return any(_is_program(facts, programs) for programs, _ in self._runs)

    def _compare_command(self, facts: ProcessFacts) -> Literal["same", "like", "other"]:
        """`like`: the same program with more or fewer arguments, or one whose program is not readable."""
        found: Literal["same", "like", "other"] = "like" if self._may_be_started(facts) else "other"
        for programs, command in self._runs:
            if not facts.words or not _is_program(facts, programs):
                continue
            wanted, given = command[1:], self._arguments(facts, programs)
            if " ".join(facts.words).strip() == " ".join(command):  # some write their title over it
                given = wanted
            if len(given) > len(wanted) and wanted and wanted[0] in self.files:
                options = given[: len(given) - len(wanted)]  # of the interpreter: python -u bot.py
                if all(each.startswith("-") and each not in _NO_SCRIPT for each in options):
                    given = given[len(options) :]
            if len(given) == len(wanted) and all(map(self._is_same_word, wanted, given, [facts] * len(given))):
                if facts.program is not None:
                    return "same"
                found = "like"
            elif set(wanted) <= set(given) or (given and set(given) <= set(wanted)):
                runs_script = bool(wanted) and wanted[0] in self.files
                if not (runs_script and {*_NO_SCRIPT} & ({*given} ^ {*wanted})):
                    found = "like"
        return found

    def _may_be_started(self, facts: ProcessFacts) -> bool:
        """Whether a shell script of the command's may have started it: a file of the bot's, with all that the script says."""
        given, runs = facts.words[1:], _running_as(facts)
        for words in (each.words for each in self._started):
            start = next((n for n, word in enumerate(words, 1) if runs & self._names[word]), len(words))
            wanted = [word for word in words[start:] if UNKNOWN not in word]
            if any(word in self.files for word in wanted) and all(
                any(self._is_same_word(word, each, facts) for each in given) for word in wanted
            ):
                return True
        return False

    def _has_title(self, facts: ProcessFacts) -> bool:
        """Whether it has written something else over its arguments (``gunicorn: master``), so that these tell nothing."""
        title = next(iter(facts.words), "").removeprefix("-")  # of a login shell
        if facts.program is None or _family(title) == _family(facts.program):
            return False
        program = self._program(title)
        return program is None or os.path.realpath(program) != facts.program

    def _arguments(self, facts: ProcessFacts, programs: tuple[str, ...]) -> tuple[str, ...]:
        """Those behind the program, or behind the script that an interpreter runs."""
        if len(programs) > 1:
            for n, word in enumerate(facts.words[1:], 1):
                if _is_same_file(programs[0], _full_path(word, facts.folder or "/")):
                    return facts.words[n + 1 :]
                if not word.startswith("-"):
                    break
        return facts.words[1:]

    def _is_same_word(self, wanted: str, given: str, facts: ProcessFacts) -> bool:
        if wanted == given:
            return True
        file = self.files.get(wanted)
        return file is not None and facts.folder is not None and _is_same_file(file, _full_path(given, facts.folder))

    def _compare_folder(self, facts: ProcessFacts, *, named: bool) -> Literal["same", "other", "unknown"]:
        """By its working directory, else by the full path of what it runs."""
        if facts.folder_id is not None and facts.folder_id == self.folder_id:
            return "same"
        if any(os.path.isabs(word) and _full_path(word, "/") in self._own_files for word in facts.words):
            return "same"
        if facts.folder is None:
            return "unknown"
        if not self._has_moved(facts):
            return "other"
        started_in = (facts.environment or {}).get("PWD")
        if started_in is None:
            return "unknown"
        if os.path.normpath(started_in) in (self.folder, self.real_folder):
            return "same" if named else "unknown"
        return "unknown" if self._lacks_files(facts, started_in) else "other"

    def _has_moved(self, facts: ProcessFacts) -> bool:
        """Whether it may have begun in the bot's folder and be elsewhere by now, or that folder be another one than then."""
        assert facts.folder is not None
        folder = facts.folder.removesuffix(" (deleted)")
        if folder in ("/", self.folder, self.real_folder) or (
            folder == facts.folder and self._lacks_files(facts, folder)
        ):
            return True
        releases = os.path.dirname(self.real_folder)  # a link leads to the newest of them, and it runs an older one
        return self.folder != self.real_folder and os.path.dirname(folder) == releases

    def _lacks_files(self, facts: ProcessFacts, folder: str) -> bool:
        """Whether it, as its words stand, could not have been started there."""
        relative = [word for word in facts.words if word in self.files and not os.path.isabs(word)]
        return any(not os.path.isfile(_full_path(word, folder)) for word in relative)

    def _unlike_variable(self, facts: ProcessFacts) -> str | None:
        if facts.environment is None:
            return None
        given = facts.environment
        return next((name for name, value in self.spec.env.items() if given.get(name, value) != value), None)


def _full_path(word: str, folder: str) -> str:
    """Without links but for the last one, which is what two virtual environments differ in."""
    full = os.path.normpath(os.path.join(folder, word))
    return os.path.join(os.path.realpath(os.path.dirname(full)), os.path.basename(full))


def _read_script(path: str) -> str:
    """Empty: it is no text, or not readable."""
    try:
        if not os.path.isfile(path):
            return ""
        with open(path, "rb") as file:
            text = file.read(MAX_SCRIPT)
    except (OSError, ValueError):
        return ""
    return "" if b"\0" in text else text.decode("utf-8", "replace")


def _is_same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def _family(program: str) -> str:
    """``python`` of ``/usr/bin/python3.11``."""
    return re.sub(r"[0-9.]+$", "", os.path.basename(program)) or program


def _is_program(facts: ProcessFacts, programs: tuple[str, ...]) -> bool:
    return any(_running_as(facts) & _names_of(each) for each in programs)


def _running_as(facts: ProcessFacts) -> Set[str]:
    """By the name that it goes by where more is not readable."""
    runs = facts.program or next(iter(facts.words), "")
    return {_family(runs), runs}


def _names_of(program: str) -> Set[str]:
    return {_family(program), os.path.realpath(program)}


def _interpreter(program: str) -> str | None:
    """Of a script: what its first line names; None: it is no script, or not readable."""
    try:
        with open(program, "rb") as file:
            line = file.read(256).split(b"\n")[0]
    except OSError:
        return None
    words = os.fsdecode(line[2:]).split() if line.startswith(b"#!") else []
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0] if words else None


def _holds(pid_file: str, pid: int) -> bool:
    try:
        file = read_file(Path(pid_file))
    except ActionError:
        return False
    return file is not None and file.pid == pid
