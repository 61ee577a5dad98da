"""Files → Config: what is filled in, what is merged, what is said about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.config.conftest import BASE_RULES, MAIN_YAML, WriteConfig
from watchdog.config import Config, check_files, load, load_partial, require_files
from watchdog.documents.problems import ConfigError
from watchdog.notifiers import SlackNotifier
from watchdog.rules import Missing, Patience
from watchdog.sources import ProcessSource, ScrapeSource


def test_everything_that_is_said_arrives(write_config: WriteConfig) -> None:
    folder = write_config({})
    config = load(folder, environ={})
    assert isinstance(config.sources["bot"], ScrapeSource)
    assert isinstance(config.channels["chat"], SlackNotifier)
    assert config.targets["bot"].unit == "trading-bot.service"
    assert list(config.kpis) == ["errors", "share"]
    assert list(config.rules) == ["base-halt", "base-repair"]
    assert list(config.plans) == ["halt", "repair"]
    assert [(check.rule, check.level, check.limit) for check in config.checks] == [
        ("base-halt", "crit", 5.0),
        ("base-repair", "crit", 3.0),
    ]
    assert config.state == Path("/var/lib/trading-watchdog")
    assert (config.web.host, config.web.port) == ("127.0.0.1", 9464)
    assert config.files == (folder / "watchdog.yaml", folder / "rules/base.yaml")
    assert config.unchecked == ()
    assert config.warnings == ()


def test_a_file_is_as_good_as_its_folder(write_config: WriteConfig) -> None:
    folder = write_config({})
    other = folder / "other.yaml"
    other.write_text(MAIN_YAML)
    assert load(other, environ={}).rules == load(folder, environ={}).rules


def test_rule_files_are_read_in_the_order_of_their_names_and_merged(write_config: WriteConfig) -> None:
    folder = write_config(
        {
            "rules/aa.yml": "rules: [{name: second, kpi: errors, target: bot, warn: {above: 1}}]\n",
            "rules/a.yaml": "rules: [{name: first, kpi: late, target: bot, warn: {above: 1}}]\n",
            "rules/z.yaml": "kpis: {late: {expr: x}}\n",
            "rules/.a.yaml.swp": "not: [yaml",
            "rules/.hidden.yaml": "not: [yaml",
            "rules/readme.txt": "not: [yaml",
            "rules/empty.yaml": "# nothing yet\n",
        }
    )
    assert list(load(folder, environ={}).rules) == ["first", "second", "base-halt", "base-repair"]


def test_defaults_are_for_the_rules_of_their_file_that_do_not_say_it_themselves(write_config: WriteConfig) -> None:
    text = """\
defaults: {target: bot, if_missing: {after: 5m, then: warn}, notify: [chat], for: 3 of 5, clear_for: 7m}
rules:
  - {name: inherits, kpi: errors, warn: {above: 1}, crit: {above: 2}}
  - name: says
    kpi: errors
    target: bot
    crit: {above: 2, for: 1m, clear_for: 0s}
    if_missing: {then: ok}
    notify: []
"""
    config = load(write_config({"rules/x.yaml": text}), environ={})
    inherits, says, other = (config.rules[name] for name in ("inherits", "says", "base-halt"))
    assert inherits.warn is not None
    assert inherits.crit is not None
    assert says.crit is not None
    assert inherits.target == "bot"
    assert inherits.notify == ("chat",)
    assert inherits.if_missing == Missing(after=300_000, then="warn")
    assert inherits.warn.for_ == inherits.crit.for_ == Patience(n=3, m=5)
    assert inherits.crit.clear_for == 420_000
    assert (says.crit.for_, says.crit.clear_for) == (Patience(duration=60_000), 0)
    assert (says.if_missing, says.notify) == (Missing(then="ok"), ())
    assert (other.notify, other.if_missing) == (None, Missing())
    missing = [(check.rule, check.level) for check in config.checks if check.rule == "inherits"]
    assert missing == [("inherits", "warn"), ("inherits", "crit")]


def test_variables_come_from_the_environment_and_a_doubled_dollar_is_one(write_config: WriteConfig) -> None:
    main = """\
sources:
  bot: {type: scrape, url: "http://${HOST}:${PORT}/m", headers: {Authorization: "Bearer ${TOKEN}", X-Odd: "$${HOST} $HOST"}}
"""
    config = load(write_config({"watchdog.yaml": main}), environ={"HOST": "h", "PORT": "1", "TOKEN": "t-${HOST}"})
    source = config.sources["bot"]
    assert isinstance(source, ScrapeSource)
    assert source.url == "http://h:1/m"
    assert source.headers["Authorization"].get_secret_value() == "Bearer t-${HOST}"
    assert source.headers["X-Odd"].get_secret_value() == "${HOST} $HOST"


def test_variables_are_left_alone_in_rule_files(write_config: WriteConfig) -> None:
    folder = write_config({"rules/x.yaml": "kpis: {x: {expr: x, help: 'costs ${MONEY}'}}\n"})
    assert load(folder, environ={}).kpis["x"].help == "costs ${MONEY}"


def test_relative_paths_start_from_the_folder_or_from_systemds_credentials(
    write_config: WriteConfig, tmp_path: Path
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "slack.token").write_text("xoxb-12345678")
    main = """\
sources:
  bot: {type: process, pid_file: run/bot.pid}
  page: {type: scrape, url: "http://h/m", token_file: /etc/page.token}
channels:
  chat: {type: slack, token_file: slack.token, channel: C0123456}
  other: {type: slack, token_file: other.token, channel: C0123456}
state: state
"""
    rules = "targets: {paper: {repo: ../bot, process: {pid_file: bot.pid, command: [x], cwd: run}}}\n"
    folder = write_config({"watchdog.yaml": main, "rules/x.yaml": rules})
    config = load(folder, environ={"CREDENTIALS_DIRECTORY": str(credentials)})
    bot, page, chat, other = (
        config.sources["bot"],
        config.sources["page"],
        config.channels["chat"],
        config.channels["other"],
    )
    assert isinstance(bot, ProcessSource)
    assert isinstance(page, ScrapeSource)
    assert isinstance(chat, SlackNotifier)
    assert isinstance(other, SlackNotifier)
    assert bot.pid_file == str(folder / "run/bot.pid")
    assert page.token_file == "/etc/page.token"
    assert chat.token_file == str(credentials / "slack.token")
    assert other.token_file == str(folder / "other.token")
    assert config.state == folder / "state"
    paper = config.targets["paper"]
    assert paper.repo == str(folder / "../bot")
    assert paper.process is not None
    assert (paper.process.cwd, paper.process.pid_file) == (str(folder / "run"), "bot.pid")


def test_paths_are_absolute_also_when_the_folder_is_named_relatively(
    write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_config({"watchdog.yaml": "state: state\n"})
    monkeypatch.chdir(folder)
    config = load(Path(), environ={})
    assert config.state == folder / "state"
    assert all(path.is_absolute() for path in config.files)


@pytest.mark.parametrize(
    ("said", "environ", "state"),
    [
        ("", {}, "/var/lib/trading-watchdog"),
        ("", {"STATE_DIRECTORY": "/var/lib/private/tw:/other"}, "/var/lib/private/tw"),
        ("state: /srv/state\n", {"STATE_DIRECTORY": "/var/lib/private/tw"}, "/srv/state"),
    ],
)
def test_state_is_what_is_said_then_systemds_then_the_usual(
    said: str, environ: dict[str, str], state: str, write_config: WriteConfig
) -> None:
    assert load(write_config({"watchdog.yaml": MAIN_YAML + said}), environ=environ).state == Path(state)


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [("0.0.0.0:0", "0.0.0.0", 0), ("'[::1]:80'", "::1", 80), ("localhost:9464", "localhost", 9464)],
)
def test_the_web_listens_where_it_is_told(listen: str, host: str, port: int, write_config: WriteConfig) -> None:
    web = load(write_config({"watchdog.yaml": f"{MAIN_YAML}web: {{listen: {listen}}}\n"}), environ={}).web
    assert (web.host, web.port) == (host, port)


def test_the_fingerprint_tells_meaning_not_layout_and_no_secret(write_config: WriteConfig) -> None:
    def fingerprint(files: dict[str, str], **environ: str) -> str:
        return load(write_config(files), environ=environ).fingerprint

    first = fingerprint({})
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert fingerprint({"rules/base.yaml": "# a comment\n" + BASE_RULES.replace("  bot:", "  bot:   ")}) == first
    assert fingerprint({"watchdog.yaml": MAIN_YAML.replace("xoxb-12345678", "xoxb-87654321")}) == first
    by_variable = MAIN_YAML.replace("token: xoxb-12345678", 'token: "${TOKEN}"')
    assert fingerprint({"watchdog.yaml": by_variable}, TOKEN="xoxb-1a2b3c4d") == fingerprint(
        {"watchdog.yaml": by_variable}, TOKEN="xoxb-5e6f7a8b"
    )
    assert fingerprint({"watchdog.yaml": MAIN_YAML.replace(":8000", ":8001")}) != first
    assert (
        fingerprint({"watchdog.yaml": MAIN_YAML, "rules/base.yaml": BASE_RULES.replace("above: 5", "above: 6")})
        != first
    )


def test_without_watchdog_yaml_there_is_nothing_to_load(write_config: WriteConfig) -> None:
    folder = write_config({})
    (folder / "watchdog.yaml").unlink()
    with pytest.raises(ConfigError, match=r"watchdog\.yaml:1:1: there is no such file"):
        load(folder, environ={})


# ─ check ─


def rule_names(config: Config | None) -> list[str]:
    assert config is not None
    return list(config.rules)


@pytest.mark.parametrize("text", ["services: {db: {image: postgres}}\n", "rules: []\n", "- a\n", ""])
@pytest.mark.parametrize("use", [load, load_partial])
def test_a_file_that_is_something_else_is_not_taken_for_a_configuration_that_says_nothing(
    text: str, use: Callable[..., Config], write_config: WriteConfig
) -> None:
    """Otherwise a command goes on with defaults: another journal, another watchdog."""
    other = write_config({"watchdog.yaml": MAIN_YAML, "compose.yaml": text}) / "compose.yaml"

    with pytest.raises(ConfigError) as refused:
        use(other, environ={})
    with pytest.raises(ConfigError):
        require_files(other)

    (problem,) = refused.value.problems
    assert str(problem) == (
        f"{other}:1:1: is no watchdog.yaml: it says nothing of sources, channels, state — "
        "name the folder that holds watchdog.yaml, or that file"
    )


def test_a_configuration_may_have_a_name_of_its_own(write_config: WriteConfig) -> None:
    folder = write_config({"staging.yaml": MAIN_YAML})

    assert list(load(folder / "staging.yaml", environ={}).sources) == ["bot"]


def test_check_takes_the_folder_with_watchdog_yaml(write_config: WriteConfig) -> None:
    folder = write_config({})
    config, problems = check_files([folder], environ={})
    assert problems == []
    assert config == load(folder, environ={})


def test_check_takes_a_folder_of_rule_files_and_says_what_it_could_not_check(write_config: WriteConfig) -> None:
    folder = write_config(
        {"rules/x.yaml": "rules: [{name: x, kpi: errors, target: bot, warn: {above: 1}, notify: [anybody]}]\n"}
    )
    config, problems = check_files([folder / "rules"], environ={})
    assert problems == []
    assert rule_names(config) == ["base-halt", "base-repair", "x"]
    assert config is not None
    assert config.unchecked == ("channels and sources are not checked: no watchdog.yaml beside the rules",)
    assert (config.sources, config.channels, config.warnings) == ({}, {}, ())


def test_single_rule_files_may_lean_on_their_neighbours(write_config: WriteConfig) -> None:
    rules = "rules: [{name: x, kpi: errors, target: bot, warn: {above: 1}}]\n"
    folder = write_config({"rules/x.yaml": rules, "rules/bad.yaml": "kpis: 5\n"})
    config, problems = check_files([folder / "rules/x.yaml"], environ={})
    assert problems == []
    assert rule_names(config) == ["x"]
    assert config is not None
    assert [check.rule for check in config.checks] == ["x"]
    assert config.files == (folder / "rules/x.yaml",)
    assert any("bad.yaml" in line for line in config.unchecked)


def test_a_mistake_in_a_single_file_is_found_also_when_it_clashes_with_a_neighbour(write_config: WriteConfig) -> None:
    folder = write_config({"rules/a.yaml": "kpis:\n  errors: {expr: y}\n"})
    config, problems = check_files([folder / "rules/a.yaml"], environ={})
    assert config is None
    (problem,) = problems
    assert (problem.file, problem.line, problem.column) == (str(folder / "rules/a.yaml"), 2, 3)
    assert "rules/base.yaml:4" in problem.what


def test_check_never_looks_twice_at_a_file(write_config: WriteConfig) -> None:
    folder = write_config({})
    config, problems = check_files(
        [folder, folder / "rules", folder / "rules/base.yaml", folder / "watchdog.yaml"], environ={}
    )
    assert problems == []
    assert config is not None
    assert len(config.files) == 2


def test_check_says_what_is_not_there(write_config: WriteConfig, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    _, problems = check_files([empty, tmp_path / "none.yaml"], environ={})
    assert [(Path(problem.file).name, problem.what) for problem in problems] == [
        ("empty", "holds neither watchdog.yaml nor a rule file"),
        ("none.yaml", "there is no such file"),
    ]


def test_two_configurations_are_not_mixed(write_config: WriteConfig, tmp_path: Path) -> None:
    folder = write_config({})
    other = tmp_path / "other"
    other.mkdir()
    (other / "watchdog.yaml").write_text(MAIN_YAML)
    config, problems = check_files([folder, other], environ={})
    assert config is None
    assert ["is a second watchdog.yaml" in problem.what for problem in problems] == [True]


# ─ warnings ─


def lint_positions(config: Config) -> list[tuple[str, int, int, str]]:
    return [(Path(each.file).name, each.line, each.column, each.what) for each in config.warnings]


def test_a_plan_that_nothing_starts_is_a_warning(write_config: WriteConfig) -> None:
    plan = """\
plans:
  idle:
    kind: halt
    levels: [{name: l, steps: [{do: systemd, stop: unit}], verify: {that: [up == 0]}}]
"""
    assert lint_positions(load(write_config({"rules/x.yaml": plan}), environ={})) == [
        ("x.yaml", 2, 3, "nothing starts the plan idle")
    ]


def test_neither_channel_nor_source_is_a_warning(write_config: WriteConfig) -> None:
    assert lint_positions(load(write_config({"watchdog.yaml": "# nothing yet\n"}), environ={})) == [
        ("watchdog.yaml", 1, 1, "there is no channel: messages go to the log"),
        ("watchdog.yaml", 1, 1, "there is no source: nothing can be judged"),
    ]


def test_a_level_that_gives_up_before_it_can_be_proven_is_a_warning(write_config: WriteConfig) -> None:
    hurried = BASE_RULES.replace("verify: {quiet: 1m}", "verify: {settle: 1m, quiet: 5m, give_up: 5m}")
    ((_, _, _, what),) = lint_positions(load(write_config({"rules/base.yaml": hurried}), environ={}))
    assert what == "level flag gives up before it can be proven: settle and quiet take 6 m"


# ─ salvage ─


def test_of_broken_rule_files_what_is_well_is_still_known(write_config: WriteConfig) -> None:
    odd = "kpis: {odd: {exper: y}, sound: {expr: z}}\n"
    folder = write_config({"rules/x.yaml": "rules: [\n", "rules/y.yaml": odd})
    saved = load_partial(folder, environ={"STATE_DIRECTORY": "/var/lib/here"})

    assert saved.state == Path("/var/lib/here")
    assert list(saved.targets) == ["bot"]
    assert "sound" in saved.kpis
    assert "odd" not in saved.kpis
    assert saved.checks == ()


@pytest.mark.parametrize("text", ["state: [", "- a\n  b", "state: x\x00", "state: 5"])
def test_a_main_file_that_cannot_be_read_is_not_guessed(text: str, write_config: WriteConfig) -> None:
    with pytest.raises(ConfigError):
        load_partial(write_config({"watchdog.yaml": text}), environ={})


def test_more_names_of_the_web_are_part_of_what_is_said(write_config: WriteConfig) -> None:
    plain = load(write_config({"watchdog.yaml": MAIN_YAML}), environ={})
    named = load(write_config({"watchdog.yaml": f"{MAIN_YAML}web: {{hosts: [dash.example.org]}}\n"}), environ={})

    assert (plain.web.hosts, named.web.hosts) == ((), ("dash.example.org",))
    assert plain.fingerprint != named.fingerprint
