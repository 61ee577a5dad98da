"""What a step names is there or not, fits or not, is deployed or not: words that are never mixed up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.actions import GitRepo, make_action
from watchdog.core.protocols import Finding
from watchdog.core.target import Target

pytestmark = pytest.mark.slow


@pytest.fixture
def repo(tmp_path: Path) -> GitRepo:
    """v1, and v2 on top of it, which is taken back; `wild` is on a branch that is not checked out."""
    repo = GitRepo(tmp_path / "repo")
    repo.commit("one", config__py="FEATURE_HMM_V2 = False\nSIZE = 5\n", models___a__py="A = 1\n")
    repo.git("tag", "v1.4")
    repo.git("switch", "-q", "-c", "wild")
    repo.commit("wild", wild__py="W = 1\n")
    repo.git("tag", "hmm-v2-merge")
    repo.git("switch", "-q", "main")
    repo.commit("two", config__py="FEATURE_HMM_V2 = True\nSIZE = 5\n")
    repo.git("tag", "v2.0")
    return repo


def look(repo: GitRepo, do: str, **fields: Any) -> list[tuple[str, str, str, str]]:
    """(kind, key, what, cure) with the repository's path left out."""
    found: tuple[Finding, ...] = make_action(do=do, **fields).bind(Target(repo=str(repo.path))).findings()

    def shown(text: str) -> str:
        return text.replace(f"{repo.path}/", "").replace(str(repo.path), "REPO")

    return [(each.kind, ".".join(map(str, each.key)), shown(each.what), shown(each.cure)) for each in found]


def test_a_version_that_is_checked_out_or_taken_back_is_no_finding(repo: GitRepo) -> None:
    assert look(repo, "git", revert="v2.0") == []
    assert look(repo, "git", to="v1.4") == []
    repo.git("revert", "--no-edit", "v2.0")
    assert look(repo, "git", revert="v2.0") == []


def test_a_version_that_is_there_and_not_checked_out_is_not_deployed(repo: GitRepo) -> None:
    not_deployed = [("not deployed", "revert", "hmm-v2-merge is in REPO, and not deployed now", "")]

    assert look(repo, "git", revert="hmm-v2-merge") == not_deployed
    assert look(repo, "git", revert="wild")[0][0] == "not deployed"
    assert look(repo, "git", revert=repo.git("rev-parse", "wild").strip())[0][0] == "not deployed"


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("hmm-v2-merg", "did you mean hmm-v2-merge?"),
        ("HMM-V2-merge", "did you mean hmm-v2-merge?"),
        ("v1.5", "did you mean v1.4?"),
        ("wlid", "did you mean wild?"),
        ("nonsense", "fetch it, or mend the name"),
        ("0123456789abcdef0123456789abcdef01234567", "fetch it, or mend the name"),
    ],
)
@pytest.mark.parametrize("key", ["revert", "to"])
def test_a_version_that_is_not_there_is_missing_with_the_name_that_was_meant(
    repo: GitRepo, key: str, name: str, cure: str
) -> None:
    assert look(repo, "git", **{key: name}) == [("missing", key, f"REPO knows no commit {name}", cure)]


def test_a_last_good_commit_that_is_not_there_yet_comes_by_itself(repo: GitRepo) -> None:
    ((kind, key, what, _),) = look(repo, "git", to="last-good")

    assert (kind, key) == ("missing now", "to")
    assert "no last-good commit yet" in what
    repo.git("update-ref", f"refs/trading-watchdog/good/000000000001-{repo.head()[:12]}", "v1.4")
    assert look(repo, "git", to="last-good") == []


def test_every_file_that_the_other_version_lacks_is_named(repo: GitRepo) -> None:
    cure = "mend the name, or say another commit in from"

    assert look(repo, "git", **{"files": ["config.py", "models/", "models"], "from": "v1.4"}) == []
    assert look(repo, "git", **{"files": ["none.py", "config.py", "modles/"], "from": "v1.4"}) == [
        ("missing", "files.0", "none.py is not in v1.4", cure),
        ("missing", "files.2", "modles/ is not in v1.4", cure),
    ]


def test_a_remote_is_known_by_its_name_or_is_an_address(repo: GitRepo) -> None:
    repo.git("remote", "add", "origin", "https://example.invalid/bot.git")

    assert look(repo, "git", to="v1.4", push="origin") == []
    assert look(repo, "git", to="v1.4", push="ssh://example.invalid/bot.git") == []
    assert look(repo, "git", to="v1.4", push="../bare.git") == []
    assert look(repo, "git", to="v1.4", push="orgin") == [
        ("missing", "push", "REPO knows no remote orgin", "did you mean origin?")
    ]


def test_edits_in_the_way_and_a_merge_under_way_are_of_today_and_no_finding(repo: GitRepo) -> None:
    repo.write_files(config__py="SIZE = 6\n")
    (repo.path / ".git/MERGE_HEAD").write_text(repo.head())

    assert look(repo, "git", revert="v2.0") == []


def test_a_folder_without_a_repository_is_missing_it(tmp_path: Path) -> None:
    (finding,) = make_action(do="git", to="v1").bind(Target(repo=str(tmp_path))).findings()

    assert (finding.kind, finding.what) == ("missing", f"{tmp_path} is no git repository")


def test_flags_that_are_not_set_do_not_fit_or_stand_twice_are_all_named(repo: GitRepo) -> None:
    repo.write_files(config__py="FEATURE_HMM_V2 = True\nSIZE = 5\nTWICE = 1\nTWICE = 2\nMADE = f()\n")
    flags = {"FEATURE_HMMV2": False, "feature_hmm_v2": False, "SIZE": "6", "TWICE": 3, "MADE": 1, "NONE": 1}

    assert look(repo, "flag", file="config.py", set=flags) == [
        ("missing", "set.FEATURE_HMMV2", "FEATURE_HMMV2 is not set in config.py", "did you mean FEATURE_HMM_V2?"),
        ("missing", "set.feature_hmm_v2", "feature_hmm_v2 is not set in config.py", "did you mean FEATURE_HMM_V2?"),
        ("unfit", "set.SIZE", "SIZE in config.py is a number there (5), and '6' is a text", "write 6, without quotes"),
        ("unfit", "set.TWICE", "TWICE is set 2 times in config.py", "leave one of them"),
        ("unfit", "set.MADE", "MADE in config.py, line 5, is no literal", "make it True, 5 or 'text'"),
        ("missing", "set.NONE", "NONE is not set in config.py", "add it there first"),
    ]


@pytest.mark.parametrize(
    ("file", "content", "flag", "meant"),
    [
        ("s.yaml", "features: {hmm_v2: true}\n", "features.hmm_2", "features.hmm_v2"),
        ("s.json", '{"features": {"hmm_v2": true}, "other": {"hmm_2x": 1}}', "features.hmm_2", "features.hmm_v2"),
        ("s.toml", "[features]\nhmm_v2 = true\n", "features.hmmv2", "features.hmm_v2"),
        ("s.ini", "[features]\nhmm_v2 = true\n", "features.hmmv2", "features.hmm_v2"),
        (".env", "HMM_V2=true\n", "HMM_2", "HMM_V2"),
        ("c.py", "class Config:\n    HMM_V2 = True\n", "Config.HMM_2", "Config.HMM_V2"),
    ],
)
def test_a_flag_that_was_probably_meant_is_named_in_every_kind_of_file(
    repo: GitRepo, file: str, content: str, flag: str, meant: str
) -> None:
    (repo.path / file).write_text(content)

    ((kind, _, _, cure),) = look(repo, "flag", file=file, set={flag: False})

    assert (kind, cure) == ("missing", f"did you mean {meant}?")


def test_a_word_of_the_file_that_is_no_flag_is_not_proposed(repo: GitRepo) -> None:
    repo.write_files(config__py="# FEATURE_V2 is gone\nSIZE = 5\n")

    assert look(repo, "flag", file="config.py", set={"FEATURE_V3": False})[0][3] == "add it there first"


def test_a_file_that_is_not_there_is_missing_with_the_one_that_was_meant(repo: GitRepo) -> None:
    (repo.path / "link.py").symlink_to("/etc/passwd")

    assert look(repo, "flag", file="confg.py", set={"SIZE": 1}) == [
        ("missing", "file", "there is no file confg.py", "did you mean config.py?")
    ]
    assert look(repo, "flag", file="none.toml", set={"a": 1})[0][2:] == (
        "there is no file none.toml",
        "name it relative to the target's repo",
    )
    assert look(repo, "flag", file="link.py", set={"A": 1})[0][0] == "unfit"


def test_programs_of_the_repository_are_missing_and_those_of_the_machine_missing_now(repo: GitRepo) -> None:
    found = look(repo, "command", run=["./scripts/close_all.sh"], check=["no-such-program-here"])

    assert [each[:2] for each in found] == [("missing", "run.0"), ("missing now", "check.0")]


def test_state_files_and_backups_come_and_go(repo: GitRepo) -> None:
    assert [each[:2] for each in look(repo, "archive", paths=["config.py", "state.json"], into="old")] == [
        ("missing now", "paths.1")
    ]
    assert [each[:2] for each in look(repo, "restore", **{"file": "state.json", "from": "state.json.backup"})] == [
        ("missing now", "from")
    ]
