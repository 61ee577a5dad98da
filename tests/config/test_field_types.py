"""A field says by its type that it is a path or a secret: nobody goes by the name of a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import SecretStr

from watchdog.config.entries import SECTION_MODELS, expands_environment
from watchdog.config.interpolate import absolute_paths
from watchdog.config.load import check_files
from watchdog.config.model_fields import ModelClass, field_by_key, models_in, path_field
from watchdog.core.model import ConfigModel

FOLDER = Path("/etc/watchdog")
SECTIONS = {model: section for section, models in SECTION_MODELS.items() for model in models}


def models_below(model: ModelClass) -> Iterator[ModelClass]:
    todo, seen = [model], set[ModelClass]()
    while todo:
        if (one := todo.pop()) not in seen:
            seen.add(one)
            yield one
            todo += [under for field in field_by_key(one).values() for under in models_in(field.annotation)]


def types_in(annotation: Any) -> Iterator[Any]:
    yield annotation
    for each in get_args(annotation):
        yield from types_in(each)


def resolve(section: str, raw: dict[str, Any], **environ: str) -> Any:
    return absolute_paths(raw, SECTION_MODELS[section], FOLDER, environ)


@pytest.mark.parametrize("model", SECTIONS, ids=lambda model: model.__name__)
def test_what_is_called_like_a_path_is_one_by_its_type(model: ModelClass) -> None:
    unmarked = [
        f"{one.__name__}.{key}"
        for one in models_below(model)
        for key in field_by_key(one)
        if (key in ("file", "cwd", "repo") or key.endswith("_file")) and path_field(one, key) is None
    ]

    assert unmarked == []


@pytest.mark.parametrize("model", SECTIONS, ids=lambda model: model.__name__)
def test_only_what_is_fingerprinted_without_secrets_holds_any(model: ModelClass) -> None:
    secret = [
        f"{one.__name__}.{key}"
        for one in models_below(model)
        for key, field in field_by_key(one).items()
        if SecretStr in types_in(field.annotation)
    ]

    assert issubclass(model, ConfigModel)
    assert model.expand_environment == expands_environment(SECTIONS[model])  # all of a section, or none
    assert model.expand_environment or secret == []


def test_a_path_starts_from_the_files_folder_and_nothing_else_is_taken_for_one() -> None:
    source = {"type": "scrape", "url": "x", "token_file": "t", "headers": {"x_file": "a", "file": "b"}}
    process = {"type": "process", "pid_file": "../bot.pid", "cmdline": "file"}
    target = {"unit": "u", "repo": "bot", "process": {"pid_file": "p", "log": "l", "cwd": "bot", "command": ["file"]}}

    assert resolve("sources", source) == source | {"token_file": "/etc/watchdog/t"}
    assert resolve("sources", process) == process | {"pid_file": "/etc/watchdog/../bot.pid"}
    assert resolve("channels", {"type": "slack", "token_file": "/run/t"})["token_file"] == "/run/t"
    assert resolve("targets", target) == target | {
        "repo": "/etc/watchdog/bot",
        "process": target["process"] | {"cwd": "/etc/watchdog/bot"},  # type: ignore[operator]
    }


def test_the_paths_of_a_step_are_left_to_the_repo_of_its_target() -> None:
    place = {"pid_file": "p", "command": ["x"], "cwd": "spare", "log": "l"}
    steps = [
        {"do": "process", "start": "process", "place": place},
        {"do": "flag", "file": "config.py", "repo": "sub"},
        {"do": "command", "run": ["x"], "cwd": "sub"},
    ]
    plan = {"kind": "repair", "before": steps, "levels": [{"name": "a", "steps": steps}]}

    assert resolve("plans", plan) == plan


def test_the_secrets_of_a_step_are_the_daemons_and_never_lie_in_the_repo_of_its_target(tmp_path: Path) -> None:
    (tmp_path / "h").write_text("X: y")
    step = {"do": "http", "url": "x", "token_file": "t", "headers_file": "h"}
    plan = {"kind": "halt", "levels": [{"name": "a", "steps": [step]}]}

    (level,) = resolve("plans", plan, CREDENTIALS_DIRECTORY=str(tmp_path))["levels"]
    assert level["steps"] == [step | {"token_file": "/etc/watchdog/t", "headers_file": str(tmp_path / "h")}]


def test_a_secrets_file_may_be_one_of_systemds_credentials_and_a_pid_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "bot").write_text("x")
    scrape = {"type": "scrape", "token_file": "bot"}
    process = {"type": "process", "pid_file": "bot"}

    assert resolve("sources", scrape, CREDENTIALS_DIRECTORY=str(tmp_path))["token_file"] == str(tmp_path / "bot")
    assert resolve("sources", process, CREDENTIALS_DIRECTORY=str(tmp_path))["pid_file"] == "/etc/watchdog/bot"
    for odd in ("\0", "x" * 5_000):
        assert resolve("sources", scrape | {"token_file": odd}, CREDENTIALS_DIRECTORY=str(tmp_path))


def test_a_header_that_is_called_like_a_file_is_sent_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "watchdog.yaml").write_text(
        'sources: {bot: {type: scrape, url: "http://127.0.0.1:1/metrics", headers: {x_file: a.txt}}}\n'
    )
    (tmp_path / "rules").mkdir()
    config, problems = check_files([tmp_path], environ={})

    assert problems == []
    assert config is not None
    assert config.sources["bot"].headers["x_file"].get_secret_value() == "a.txt"  # type: ignore[union-attr]
