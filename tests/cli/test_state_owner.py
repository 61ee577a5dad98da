"""A state folder knows its configuration: of two instances neither reads, or acts on, what the other one has seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from watchdog.app.daemon import Daemon
from watchdog.cli.command_line import main
from watchdog.core.errors import WatchdogError
from watchdog.journal import open_journal

RULES = """\
targets: {bot: {repo: /srv/bot}}
kpis: {errors: {expr: errors_total, unit: count}}
rules: [{name: errors, kpi: errors, target: bot, warn: {above: 3}}]
"""


def write_configuration(folder: Path, state: Path) -> Path:
    (folder / "rules").mkdir(parents=True)
    (folder / "watchdog.yaml").write_text(
        f'state: {state}\nweb: {{listen: "127.0.0.1:0"}}\n'
        'sources: {bot: {type: scrape, url: "http://127.0.0.1:9/metrics"}}\n'
    )
    (folder / "rules" / "bot.yaml").write_text(RULES)
    return folder


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """The configuration for which a daemon has run."""
    folder = write_configuration(tmp_path / "first", tmp_path / "state")
    Daemon(folder, {}).close()
    (tmp_path / "state" / "series.db").touch()
    return folder


@pytest.fixture
def second(first: Path) -> Path:
    """Another one that names the same state folder."""
    return write_configuration(first.parent / "second", first.parent / "state")


@pytest.mark.parametrize(
    "words",
    [
        ("incidents",),
        ("hold", "bot", "--for", "1h"),
        ("report", "1"),
        ("snapshot",),
        ("baseline", "show"),
        ("query", "errors_total"),
    ],
)
def test_a_command_for_another_configuration_says_whose_the_journal_is(
    first: Path, second: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--config", str(second)]) == 1

    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert f"{first.parent / 'state'} belongs to the configuration {first / 'watchdog.yaml'}, not to {second}" in line
    assert f"say `state:` with a folder of its own in {second / 'watchdog.yaml'}" in line


def test_a_daemon_does_not_take_the_state_of_another_configuration(first: Path, second: Path) -> None:
    with pytest.raises(WatchdogError, match="belongs to the configuration"):
        Daemon(second, {})
    Daemon(first, {}).close()


def test_check_says_what_run_will_refuse(first: Path, second: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "--config", str(second)])

    assert "note: run will refuse this: the state folder" in capsys.readouterr().out


def test_its_own_configuration_is_known_by_every_way_to_it(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = first.parent / "link"
    link.symlink_to(first)
    monkeypatch.chdir(first)

    for way in (".", str(first), str(first / "watchdog.yaml"), str(link), f"{link}/../first"):
        assert main(["incidents", "--config", way]) == 0


def test_a_link_that_leads_to_another_release_is_still_the_same_configuration(tmp_path: Path) -> None:
    old = write_configuration(tmp_path / "v1", tmp_path / "state")
    new = write_configuration(tmp_path / "v2", tmp_path / "state")
    current = tmp_path / "current"
    current.symlink_to(old)
    Daemon(current, {}).close()
    current.unlink()
    current.symlink_to(new)

    Daemon(current, {}).close()


def test_a_configuration_that_was_moved_takes_its_state_along(first: Path) -> None:
    moved = first.parent / "moved"
    first.rename(moved)

    assert main(["incidents", "--config", str(moved)]) == 0
    Daemon(moved, {}).close()

    journal = open_journal(first.parent / "state")
    assert journal.provenance.find_configuration() == str(moved / "watchdog.yaml")
    journal.close()


def test_a_configuration_that_keeps_its_state_elsewhere_by_now_claims_none(first: Path, second: Path) -> None:
    main_file = first / "watchdog.yaml"
    main_file.write_text(main_file.read_text().replace(str(first.parent / "state"), str(first.parent / "elsewhere")))

    Daemon(second, {}).close()


def test_one_that_cannot_be_read_keeps_what_it_has(first: Path, second: Path) -> None:
    (first / "watchdog.yaml").write_text("state: [\n")

    with pytest.raises(WatchdogError, match="belongs to the configuration"):
        Daemon(second, {})


def test_a_daemon_says_for_which_configuration_it_runs(first: Path) -> None:
    daemon = Daemon(first, dict(os.environ))
    try:
        assert daemon.configuration == str(first / "watchdog.yaml")
    finally:
        daemon.close()
