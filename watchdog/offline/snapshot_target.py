"""The target's side of a snapshot: what its owner looks at, and does, in the bot's folders. Raises ActionError only."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from watchdog.actions.git import repository
from watchdog.actions.git.repository import Repository
from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.core.target import Target
from watchdog.host import atomic_file

if TYPE_CHECKING:
    PlanStep = Action
else:
    from watchdog.actions import AnyAction as PlanStep  # as which it travels

_GIT_TIMEOUT_MS = 60_000


class RepositoryState(NamedTuple):
    work_tree: Path
    head: str
    """Object id of the commit that is checked out."""
    tagged: str | None
    """Object id of the commit that the tag is on; None: there is no such tag."""
    modified: list[Path]
    """Tracked files that are not as HEAD has them."""


def find_flag_files(steps: tuple[PlanStep, ...], target: str) -> list[Path]:
    """The files in which steps set flags of this target (JSON), as far as they are there."""
    location = Target.model_validate_json(target)
    found: list[Path] = []
    for step in steps:
        with contextlib.suppress(ActionError):  # a step of a plan for another target
            found += [path for path in step.bind(location).value_edits() if path.is_file() and path not in found]
    return found


def resolve_files(paths: tuple[Path, ...]) -> list[Path]:
    """Without links on the way."""
    for path in paths:
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise ActionError(f"there is no file {path} to save — name it relative to the target's repo") from None
        except OSError as error:
            raise ActionError(f"{path} cannot be saved: {error.strerror}") from None
    return [path.resolve() for path in paths]


def read_repository(path: str, tag: str | None) -> RepositoryState:
    repo = repository.open_repository(path, _GIT_TIMEOUT_MS)
    head, tagged = repository.resolve_head(repo), ""
    if tag is not None:
        asked = ("rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}")
        tagged = repo.git_line(*asked, ok=(0, 1, 128))
    return RepositoryState(repo.work_tree, head, tagged or None, _modified_files(repo))


def set_tag(path: str, tag: str, commit: str) -> None:
    repository.open_repository(path, _GIT_TIMEOUT_MS).git("update-ref", f"refs/tags/{tag}", commit)


def diff_to(path: str, commit: str) -> str | None:
    """How the files of HEAD differ from those of `commit`, in numbers; None: there is no such commit."""
    repo = repository.open_repository(path, _GIT_TIMEOUT_MS)
    if not repository.has_commit(repo, commit):
        return None
    options = ("--no-color", "--no-ext-diff", "--stat")
    return repo.git("diff", *options, repository.resolve_head(repo), commit).stdout


def reset_edited_files(path: str, files: tuple[Path, ...]) -> None:
    """Those of `files` that are edited, and there, get HEAD's content."""
    repo = repository.open_repository(path, _GIT_TIMEOUT_MS)
    head = repository.resolve_head(repo)
    for file in {*files} & {*_modified_files(repo)}:
        if file.is_file():
            content = repository.file_content(repo, head, str(file.relative_to(repo.work_tree)))
            atomic_file.replace_file(file, content)


def _modified_files(repo: Repository) -> list[Path]:
    raw = repo.git("diff", "--name-only", "--no-renames", "-z", "--ignore-submodules", "HEAD").stdout_bytes
    return [repo.work_tree / name for name in raw.decode("utf-8", "surrogateescape").split("\0") if name]
