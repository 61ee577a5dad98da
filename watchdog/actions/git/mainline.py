"""Which side of a merge is the one that ran before it: what the other sides brought is what is taken back."""

from __future__ import annotations

import re
from collections.abc import Sequence

from watchdog.actions.git.commit_refs import good_commits
from watchdog.actions.git.repository import BRANCH_REFS, Repository, commit_subject, contains_commit
from watchdog.core.errors import ActionError

_MAX_TIPS = 200
"""Entries of a reflog that are read, newest first."""
_MAX_SIDE = 50_000
"""Commits of one side of a merge that are known by name."""


_MERGE = re.compile(
    r"Merged? (?P<remote>remote-tracking )?(?:branch(?:es)? )?(?P<names>.+?)(?: of \S+)?(?: into \S+)?", re.ASCII
)
"""How git, the places that host repositories, and people word a merge of branches."""


class MainlineError(ActionError):
    """Taking a merge back would take back what others did."""


def mainline_parent(repo: Repository, merge: str, parents: Sequence[str], name: str) -> str:
    """The parent that the branch stood at before the merge came; the first unless something says otherwise.

    A merge that was made the other way round (main merged into a branch, and main moved onto it) has the branch's own commits
    on its first side: taking back "what it brought" would then take back what others did on main. What this work tree ran
    before, by its reflog and by what was seen well, says which side that was. MainlineError: nothing does, and the merge's own
    words say that it was made so.
    """
    sides = {parent: _only_of(repo, parent, [each for each in parents if each != parent]) for parent in parents}
    branch = repo.git_line("symbolic-ref", "--quiet", "HEAD", ok=(0, 1))
    for tips in (_logged_tips(repo, branch), _logged_tips(repo, "HEAD"), [good for _, good in good_commits(repo)]):
        before = next((tip for tip in tips if not contains_commit(repo, tip, merge)), None)
        if side := next((parent for parent, own in sides.items() if before == parent or before in own), None):
            return side
    subject = commit_subject(repo, merge)
    if _merges_main(subject, branch.removeprefix(BRANCH_REFS)):
        second = "its second parent" if len(parents) == 2 else "one of its other parents"
        others = ", ".join(parent[:10] for parent in parents[1:])
        raise MainlineError(
            f"{name} is a merge made the other way round (“{subject}”): main's earlier commits are {second}, {others}, and "
            f"taking it back would take back what others did there — name the commits of the branch itself "
            f"({parents[0][:10]} is the last one), or go back with to:"
        )
    return parents[0]


def _only_of(repo: Repository, parent: str, others: Sequence[str]) -> frozenset[str]:
    asked = (f"--max-count={_MAX_SIDE}", parent, *(f"^{other}" for other in others))
    return frozenset(repo.git_line("rev-list", *asked, "--").split())


def _logged_tips(repo: Repository, ref: str) -> list[str]:
    """What the ref stood at, newest first; empty where nobody keeps that."""
    asked = ("log", "--walk-reflogs", f"--max-count={_MAX_TIPS}", "--format=%H", ref or "HEAD", "--")
    return repo.git_line(*asked, ok=(0, 128)).split()


def _merges_main(subject: str, branch: str) -> bool:
    """Whether the words of a merge say that main was what was merged, and not what was merged into."""
    if subject.endswith((f" into {branch}", f" into '{branch}'")):
        return False
    merged = _MERGE.fullmatch(subject)
    names = [] if merged is None else [name.strip("'\"") for name in re.split(r",? and |, ", merged["names"])]
    remotes = r"[^/]+/" if merged is not None and merged["remote"] else r"(?:origin|upstream)/"
    return not {re.sub(rf"^{remotes}", "", name) for name in names}.isdisjoint(
        {branch, "main", "master", "trunk"} - {""}
    )
