"""What a reload takes away is missed: it is refused, told once, and done only for who says so on the spot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.pipeline_harness import MAIN_YAML, RULES_YAML, PipelineHarness
from tests.support.reload_harness import MAIN, RULES, ReloadHarness
from watchdog.app import reload
from watchdog.app.reload_guard import BY_START, Person, ReloadGuard
from watchdog.config import Inventory, load
from watchdog.core.model import Message
from watchdog.journal.topics import CONFIGURATION, TAKEN_AWAY
from watchdog.pipeline.machine_state import list_firing
from watchdog.pipeline.removals import find_removals
from watchdog.rules.state_machine import StateKey

CHANNELS = "channels: {chat: {type: slack, token: xoxb-12345678, channel: C0123456, from: info}}\n"
A_FIRES = StateKey("a", "warn", (), "bot")
ADA = Person("ada", "the bot is retired", insists=True)
OTHER = "kpis: {load: {expr: load1}}\nrules: [{name: load, kpi: load, target: bot, warn: {above: 9}}]\n"


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReloadHarness]:
    monkeypatch.setattr(reload, "SETTLE_TIME", 0.01)
    (tmp_path / "rules").mkdir()
    (tmp_path / "watchdog.yaml").write_text(MAIN + CHANNELS)
    (tmp_path / "rules" / "a.yaml").write_text(RULES)
    made = ReloadHarness(tmp_path)
    yield made
    made.journal.close()


def refusal(harness: ReloadHarness) -> tuple[str, ...]:
    """What people were told, of a reload that changed nothing."""
    ((severity, title, lines),) = harness.messages
    assert harness.applied_configs == []
    assert severity == "warn"
    assert title.startswith("Configuration not reloaded: it would take away ")
    assert title.endswith("; what ran runs on")
    assert lines[-1] == "if that is meant: trading-watchdog reload --yes"
    return lines[:-1]


def empty(harness: ReloadHarness) -> None:
    harness.rules.write_text("")


def leave_comments(harness: ReloadHarness) -> None:
    harness.rules.write_text("# rules:\n#   - none for now\n\n")


def delete(harness: ReloadHarness) -> None:
    harness.rules.unlink()
    harness.rules.with_name("z.yaml").write_text("kpis: {x: {expr: x}}\n")


def delete_folder(harness: ReloadHarness) -> None:
    harness.rules.unlink()
    harness.rules.parent.rmdir()


def unmount(harness: ReloadHarness) -> None:
    harness.rules.unlink()


def rename_out_of_sight(harness: ReloadHarness) -> None:
    harness.rules.rename(harness.rules.with_name("a.yaml.bak"))


def cut_off(harness: ReloadHarness) -> None:
    harness.rules.write_text(RULES[: RULES.index("rules:")])


@pytest.mark.parametrize(
    ("accident", "why"),
    [
        (empty, "rules/a.yaml is empty"),
        (leave_comments, "rules/a.yaml says nothing, but for comments"),
        (delete, "rules/a.yaml is gone"),
        (delete_folder, "rules/a.yaml is gone with its folder rules/"),
        (unmount, "rules/a.yaml is gone: rules/ is empty – is something not mounted there?"),
        (rename_out_of_sight, "rules/a.yaml is gone: rules/ holds no .yaml and no .yml file any more"),
        (cut_off, "rules/a.yaml no longer says so"),
    ],
)
def test_a_reload_that_takes_every_rule_away_is_refused_and_says_what_became_of_the_file(
    harness: ReloadHarness, accident: Callable[[ReloadHarness], None], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    accident(harness)
    harness.run(harness.check_files, harness.check_files, harness.reloader.reload)

    assert refusal(harness)[0] == f"every rule (2): {why}"
    assert f"not reloaded: it would take away every rule (2): {why}" in caplog.text
    assert harness.last_reload_successful == 0
    assert "would take away every rule (2)" in harness.reloader.systemd_status()
    assert harness.reloader.describe_files()[0].endswith(f"every rule (2): {why}")


@pytest.mark.parametrize(
    ("what", "main"),
    [
        ("every source (1)", "state: state\n" + CHANNELS),
        ("every channel (1)", MAIN),
        ("every source (1)", ""),
    ],
)
def test_a_reload_without_any_source_or_channel_is_refused(harness: ReloadHarness, what: str, main: str) -> None:
    (harness.folder / "watchdog.yaml").write_text(main)
    harness.run(harness.check_files)

    why = "is empty" if not main else "no longer says so"
    told = refusal(harness)
    assert told == (f"{what}: watchdog.yaml {why}",) or told[:2] == (f"watchdog.yaml {why}:", what)


@pytest.mark.parametrize("dangling", ["rules/a.yaml", "rules", "watchdog.yaml"])
def test_a_link_that_leads_nowhere_is_a_mistake_by_that_name(harness: ReloadHarness, dangling: str) -> None:
    path = harness.folder / dangling
    path.rename(harness.folder / "elsewhere")
    path.symlink_to("nowhere")
    harness.run(harness.check_files)

    assert harness.applied_configs == []
    assert (
        f"{path}:1:1: is a link to nowhere, which is not there — mend the link, or remove it" in harness.messages[0][2]
    )


def test_a_folder_that_is_none_is_a_mistake(harness: ReloadHarness) -> None:
    harness.rules.unlink()
    harness.rules.parent.rmdir()
    (harness.folder / "rules").write_text("")
    harness.run(harness.check_files)

    assert "rules:1:1: is no folder" in harness.messages[0][2][0]


def test_a_rule_that_fires_is_not_taken_away_by_an_edit(harness: ReloadHarness) -> None:
    harness.firing = [A_FIRES]
    harness.edit_rules("- {name: a,", "- {name: a2,")
    harness.run(harness.check_files)

    assert refusal(harness) == ("rule a (warn) of bot, which fires: rules/a.yaml no longer says so",)


def test_neither_is_the_level_that_fires(harness: ReloadHarness) -> None:
    harness.firing = [A_FIRES]
    harness.edit_rules("kpi: errors, target: bot, warn: {", "kpi: errors, target: bot, crit: {")
    harness.run(harness.check_files)

    assert refusal(harness) == ("rule a (warn) of bot, which fires: rules/a.yaml no longer says so",)


def test_neither_is_the_source_whose_label_set_fires(harness: ReloadHarness) -> None:
    main = harness.folder / "watchdog.yaml"
    main.write_text(main.read_text().replace("sources:\n", "sources:\n  b: {type: host}\n"))
    harness.run(harness.check_files)
    harness.applied_configs.clear()
    harness.firing = [StateKey("a", "warn", (("source", "b"),), "bot")]
    main.write_text(main.read_text().replace("  b: {type: host}\n", ""))
    harness.run(harness.check_files)

    assert refusal(harness) == ("rule a (warn) of bot source=b, which fires: watchdog.yaml no longer says so",)


def test_a_limit_of_a_rule_that_fires_may_be_edited(harness: ReloadHarness) -> None:
    harness.firing = [A_FIRES]
    harness.edit_rules("kpi: errors, target: bot, warn: {above: 1}", "kpi: errors, target: bot, warn: {above: 100}")
    harness.run(harness.check_files)

    assert len(harness.applied_configs) == 1
    assert harness.messages == []


def test_rules_that_move_to_another_file_are_not_missed(harness: ReloadHarness) -> None:
    harness.firing = [A_FIRES]
    harness.rules.rename(harness.rules.with_name("b.yaml"))
    harness.rules.write_text("")
    harness.run(harness.check_files)

    assert len(harness.applied_configs) == 1
    assert harness.messages == []


@pytest.mark.parametrize("emptied", [True, False])
def test_a_file_that_is_emptied_is_refused_though_others_hold_rules_and_one_that_is_deleted_is_told(
    harness: ReloadHarness, emptied: bool
) -> None:
    other = harness.rules.with_name("b.yaml")
    other.write_text(OTHER)
    harness.run(harness.check_files)
    harness.applied_configs.clear()
    if emptied:
        other.write_text("")
    else:
        other.unlink()
    harness.run(harness.check_files)

    if emptied:
        assert refusal(harness) == ("1 rule: load (rules/b.yaml is empty)",)
    else:
        assert harness.messages == [
            ("warn", "Configuration reloaded: 1 rule removed", ("1 rule: load (rules/b.yaml is gone)",))
        ]


def test_what_was_refused_is_in_force_again_when_the_file_is_back(harness: ReloadHarness) -> None:
    empty(harness)
    harness.run(harness.check_files)
    harness.rules.write_text(RULES)
    harness.run(harness.check_files)

    assert [title for _, title, _ in harness.messages][1:] == ["Configuration reloaded: the files are in force again"]
    assert harness.reloader.describe_files() == []
    assert harness.last_reload_successful == 1


def test_people_hear_how_to_insist_also_after_they_heard_of_mistakes(harness: ReloadHarness) -> None:
    harness.rules.write_text("rules: [")
    harness.run(harness.check_files)
    empty(harness)
    harness.run(harness.check_files)

    assert [title.partition(":")[2][:20] for _, title, _ in harness.messages] == [
        " 1 mistake; what ran",
        " it would take away ",
    ]


def test_what_several_have_for_a_reason_is_said_once(harness: ReloadHarness, caplog: pytest.LogCaptureFixture) -> None:
    harness.firing = [A_FIRES]
    harness.rules.with_name("b.yaml").write_text("kpis: {y: {expr: y}}\n")
    empty(harness)
    harness.run(harness.check_files)

    told = refusal(harness)
    assert told[0] == "rules/a.yaml is empty:"
    assert len(told) > 2
    assert not [line for line in told[1:] if "is empty" in line]
    logged = [line for line in caplog.messages if line.startswith("not reloaded: ")]
    assert len(logged) == len(told) - 1
    assert all("rules/a.yaml is empty" in line for line in logged)  # each stands by itself


def test_who_insists_gets_it_and_people_hear_who_and_why(harness: ReloadHarness) -> None:
    harness.firing = [A_FIRES]
    empty(harness)
    answers: list[tuple[bool, list[str]]] = []

    async def ask(person: Person) -> None:
        answers.append(await harness.reloader.reload_once(person))

    harness.run(lambda: ask(ADA._replace(insists=False)), lambda: ask(ADA))

    (refused, said), (granted, done) = answers
    assert not refused
    assert said[-1] == "if that is meant: trading-watchdog reload --yes"
    assert granted
    assert {"rules/a.yaml is empty:", "every rule (2)", "rule a (warn) of bot, which fires"} <= set(done)
    severity, title, lines = harness.messages[-1]
    assert (severity, title) == ("warn", "Configuration reloaded by ada: it takes away every rule (2) and 1 more")
    assert lines[0] == "the bot is retired"
    assert harness.removed_how == ["by ada"]


def test_channels_that_are_all_taken_away_hear_of_it_first(harness: ReloadHarness) -> None:
    (harness.folder / "watchdog.yaml").write_text(MAIN)
    harness.run(lambda: harness.reloader.reload_once(ADA))

    assert harness.sent_before == [0]
    assert [title for _, title, _ in harness.messages] == [
        "Configuration reloaded by ada: it takes away every channel (1)"
    ]


def test_insisting_does_not_make_a_mistake_well(harness: ReloadHarness) -> None:
    harness.rules.write_text("rules: [")
    answers: list[tuple[bool, list[str]]] = []

    async def ask() -> None:
        answers.append(await harness.reloader.reload_once(ADA))

    harness.run(ask)

    assert answers[0][0] is False
    assert harness.applied_configs == []


# ─ at a start ─


def begin(harness: ReloadHarness, told: list[Message]) -> ReloadGuard:
    """Another process, with the files as they are."""
    config = load(harness.folder, environ={})
    guard = ReloadGuard(harness.journal, harness.folder, lambda: 1_700_000_000_000, lambda: harness.firing)
    guard.begin(config)

    def notify(message: Message) -> None:
        told.append(message)
        with harness.journal.transaction() as tx:
            tx.messages.enqueue(message, ["chat"], 1_700_000_000_000)

    guard.tell_start(config, notify)
    return guard


def test_a_start_without_what_was_watched_is_told_once_and_is_no_health(harness: ReloadHarness) -> None:
    told: list[Message] = []
    assert begin(harness, told).describe_problem() is None
    empty(harness)
    for _ in range(2):
        problem = begin(harness, told).describe_problem()
        assert problem is not None
        assert problem.startswith("started without every rule (2)")

    (message,) = told
    assert message.severity == "crit"
    assert message.title == "Started without what was watched before: every rule (2)"
    assert message.lines[0] == "every rule (2): rules/a.yaml is empty"
    assert "trading-watchdog reload --yes" in message.lines[-1]
    assert (message.opens, message.ends) == ((TAKEN_AWAY,), (CONFIGURATION,))


@pytest.mark.parametrize("back", [True, False])
def test_it_is_well_again_when_it_is_back_or_when_somebody_says_that_it_is_meant(
    harness: ReloadHarness, back: bool
) -> None:
    begin(harness, [])
    empty(harness)
    told: list[Message] = []
    guard = begin(harness, [])
    harness.rules.write_text(RULES if back else "kpis: {y: {expr: y}}\n")
    config = load(harness.folder, environ={})
    guard.accept(config, {}, None if back else ADA, told.append)

    assert guard.describe_problem() is None
    assert [message.ends for message in told] == [(TAKEN_AWAY,)]
    assert ("ada" in told[0].title) is not back
    assert begin(harness, told).describe_problem() is None


def test_it_stays_ill_while_files_come_back_by_half(harness: ReloadHarness) -> None:
    begin(harness, [])
    empty(harness)
    guard = begin(harness, [])
    harness.rules.write_text("kpis: {y: {expr: y}}\n")
    guard.accept(load(harness.folder, environ={}), {}, None, lambda _: pytest.fail("nothing is over"))

    assert guard.describe_problem() is not None


def test_a_fresh_installation_misses_nothing(tmp_path: Path, harness: ReloadHarness) -> None:
    empty(harness)
    told: list[Message] = []

    assert begin(harness, told).describe_problem() is None
    assert told == []


def test_fewer_rules_at_a_start_are_told(harness: ReloadHarness) -> None:
    told: list[Message] = []
    begin(harness, told)
    harness.edit_rules("- {name: b,", "- {name: c,")
    begin(harness, told)

    assert [(message.severity, message.title) for message in told] == [
        ("info", "Started with other files: 1 rule removed")
    ]


def test_what_another_version_wrote_of_it_is_nothing() -> None:
    assert Inventory.from_json({"rules": 5}) == Inventory.from_json(None) == Inventory()


# ─ with latches and incidents, of a real pipeline ─


@pytest.fixture
def night(tmp_path: Path) -> Iterator[PipelineHarness]:
    made = PipelineHarness(tmp_path)
    made.rounds(2)
    yield made
    made.journal.close()


def removals(night: PipelineHarness, rules: str) -> list[str]:
    before = Inventory.of(night.config)
    night.write_config(rules)
    found = find_removals(before, night.config, {}, list_firing(night.pipeline.machines), night.journal)
    return [removal.what for removal in found]


OTHER_BOT = RULES_YAML.replace("bot: {repo: /srv/bot,", "other: {repo: /srv/other,").replace(
    "target: bot,", "target: other,"
)


def test_a_latched_targets_rules_and_the_target_are_asked_for(night: PipelineHarness) -> None:
    with night.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=night.now, latch_why="halt")

    assert removals(night, RULES_YAML.replace("name: no-ticks", "name: ticks")) == [
        "rule no-ticks of bot, which is latched"
    ]
    assert removals(night, OTHER_BOT)[-1] == "target bot, which is latched"


def test_a_target_with_an_open_incident_or_a_plan_at_work_is_asked_for(night: PipelineHarness) -> None:
    night.rounds(5, error_ratio=0.5)

    found = removals(night, OTHER_BOT)

    assert "target bot, which has an open incident (1), has ladder at work" in found
    assert "rule errors (crit) of bot source=bot, which fires" in found


def test_a_bot_that_is_renamed_takes_its_own_along(night: PipelineHarness) -> None:
    night.rounds(3, error_ratio=0.06)
    with night.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=night.now, latch_why="halt")

    assert removals(night, OTHER_BOT.replace("/srv/other", "/srv/bot")) == []


def test_an_incident_whose_rule_was_removed_says_by_whom_and_never_that_it_recovered(night: PipelineHarness) -> None:
    night.rounds(3, error_ratio=0.06)
    night.write_config(RULES_YAML.replace("name: errors", "name: mistakes"))
    night.pipeline.apply_config(night.config, night.now, "by ada")
    night.rounds(1, error_ratio=0.01)

    assert night.incident is None
    title = night.message_titles()[-1]
    assert title == "bot: incident 1 closed after 3 s: its rule was removed by ada"
    events = [event.text for event in night.journal.timeline.list_events(1)]
    assert events[-2:] == [
        "errors (warn) was removed by ada",
        "closed after 3 s: its rule was removed by ada",
    ]


def test_after_a_restart_it_says_that_too(night: PipelineHarness) -> None:
    night.rounds(3, error_ratio=0.06)
    night.write_config("", MAIN_YAML)
    night.removed = BY_START
    night.restart()
    night.rounds(1)

    assert any(
        "its target is no longer configured, it was removed from the files before this start" in title
        for title in night.message_titles()
    )


def test_of_two_rules_the_one_that_was_removed_is_named(night: PipelineHarness) -> None:
    night.rounds(3, error_ratio=0.06, tick_age=90)
    night.write_config(RULES_YAML.replace("name: errors", "name: mistakes"))
    night.pipeline.apply_config(night.config, night.now, "by ada")
    night.rounds(3, error_ratio=0.01, tick_age=1)

    assert (
        night.message_titles()[-1] == "bot: no-ticks recovered, incident 1 closed after 3 s: errors was removed by ada"
    )


def test_a_rule_that_is_back_and_trips_again_recovers_like_any_other(night: PipelineHarness) -> None:
    night.rounds(3, error_ratio=0.06, tick_age=90)
    night.write_config(RULES_YAML.replace("name: errors", "name: mistakes"))
    night.pipeline.apply_config(night.config, night.now, "by ada")
    night.reload(RULES_YAML)
    night.rounds(3, error_ratio=0.06)
    night.rounds(3, error_ratio=0.01, tick_age=1)

    assert "removed" not in night.message_titles()[-1]
