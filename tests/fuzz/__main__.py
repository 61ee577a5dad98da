"""`python -m tests.fuzz [--minutes N | --seconds N] [TARGET …]`: atheris looks for what breaks a target. What it finds lies in
the folder that it names; once it is mended, it belongs into `seeds.FOUND`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

NAMES = (
    "exposition",
    "openmetrics",
    "promql",
    "rules",
    "flags",
    "web",
    "answers",
    "chat",
    "json_documents",
    "pushed",
    "statsd",
    "sqlite",
    "perfdata",
    "paths",
    "jsonl",
    "log",
    "textfile",
)


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.fuzz")
    options.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; all of them when none is named"
    )
    options.add_argument("--minutes", type=float, default=10.0, help="for all of them (default: %(default)g)")
    options.add_argument("--seconds", type=int, help="for each of them, in place of that")
    options.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = options.parse_args()
    names = asked.targets or NAMES
    seconds = asked.seconds or max(1, round(asked.minutes * 60 / len(names)))
    if asked.here:
        fuzz(names[0], seconds)
    broken = []
    for name in names:  # libFuzzer ends its process
        say(f"{name}, for {seconds} s")
        command = [sys.executable, "-m", "tests.fuzz", "--here", "--seconds", str(seconds), name]
        if subprocess.run(command, check=False).returncode:
            broken.append(name)
    say(f"broken: {', '.join(broken)}" if broken else "nothing was found")
    return 1 if broken else 0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def fuzz(name: str, seconds: int) -> None:
    """Never returns: libFuzzer ends the process, with 0 when nothing was found."""
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is missing — make fuzz installs it")

    with atheris.instrument_imports(include=["watchdog"], enable_loader_override=False):
        from tests.fuzz import seeds
        from tests.fuzz.targets import MAX_BYTES, TARGETS
    target = TARGETS[name]
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate([*target.seeds(), *seeds.found(name)]):
        (corpus / f"seed-{number}").write_bytes(seed)
    (folder / "words").write_text("".join(f'"{word}"\n' for word in sorted(words(target.seeds()))))
    say(f"what is found lies in {folder}")
    limits = [
        f"-max_total_time={seconds}",
        "-timeout=10",
        "-rss_limit_mb=2048",
        f"-max_len={MAX_BYTES}",
        f"-dict={folder / 'words'}",
    ]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/", str(corpus)], target.run)
    atheris.Fuzz()


def words(texts: Iterable[bytes]) -> set[str]:
    """What atheris may put together: it does not see into parsers that are not Python."""
    return {word.decode() for text in texts for word in re.findall(rb"[A-Za-z_]{2,24}|[=!<>~]{2}", text)}


if __name__ == "__main__":
    sys.exit(main())
