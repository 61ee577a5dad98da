"""What stands in a file for something else: ``${VAR}``, and paths that start from the file's folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr

from watchdog.config.model_errors import ConfigNode
from watchdog.config.model_fields import ModelClass, holds_config_paths, matching_models, models_under, path_field
from watchdog.core.model import PathField
from watchdog.documents.document import KeyPath
from watchdog.documents.problems import Problem, shorten
from watchdog.net import secrets

_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def expand_environment(node: ConfigNode, environ: Mapping[str, str]) -> tuple[Any, dict[str, str]]:
    """What the spot says with every ``${VAR}`` replaced, and the variables that were used. Undefined ones are reported."""
    used: dict[str, str] = {}

    def fill(text: str, path: KeyPath) -> str:
        def value(found: re.Match[str]) -> str:
            if found[0] == "$${":
                return "${"
            name = found[1]
            if not _NAME.fullmatch(name) or not found[2]:
                _refuse(f"{shorten(found[0])} names no variable", "write ${NAME}, or $${ where ${ is meant")
            elif name not in environ:
                _refuse(
                    f"the environment has no {shorten(name)}",
                    f"set it for the service, or write $${{{name}}} where the text is meant",
                )
            else:
                used[name] = environ[name]
                return environ[name]
            return ""

        def _refuse(what: str, cure: str) -> None:
            node.report(node.value_position(*path), what, cure)
            node.document.reject((*node.path, *path))

        return _VARIABLE.sub(value, text)

    def walk(raw: Any, path: KeyPath) -> Any:
        if isinstance(raw, str):
            return fill(raw, path)
        if isinstance(raw, dict):
            return {key: walk(value, (*path, key)) for key, value in raw.items()}
        if isinstance(raw, list):
            return [walk(value, (*path, index)) for index, value in enumerate(raw)]
        return raw

    return walk(node.raw, ()), used


def redact(problem: Problem, used: Mapping[str, str]) -> Problem:
    """The same problem without what the environment holds: that may be a password."""
    what, cure = problem.what, problem.cure
    for name, value in sorted(used.items(), key=lambda pair: -len(pair[1])):
        if len(value) >= 4:
            what, cure = what.replace(value, f"${{{name}}}"), cure.replace(value, f"${{{name}}}")
    return problem._replace(what=what, cure=cure)


def absolute_paths(raw: Any, models: Sequence[ModelClass], folder: Path, environ: Mapping[str, str]) -> Any:
    """What one of `models` is made of, with those paths made absolute that start from the file's folder."""
    if isinstance(raw, list):
        return [absolute_paths(value, models, folder, environ) for value in raw]
    filled = raw
    for model in matching_models(models, raw):
        if not holds_config_paths(model):
            continue
        for key, value in raw.items():
            path = path_field(model, key)
            if path is None:
                value = absolute_paths(value, models_under(model, key), folder, environ)
            elif path.relative_to == "config":
                value = _absolute(value, path, folder, environ)
            filled = filled | {key: value}
    return filled


def _absolute(value: Any, path: PathField, folder: Path, environ: Mapping[str, str]) -> Any:
    """One path, or several that have names."""
    if isinstance(value, dict):
        return {name: _absolute(each, path, folder, environ) for name, each in value.items()}
    if not isinstance(value, str):
        return value
    credential = secrets.find_credential(value, environ) if path.credential else None
    return str(credential or folder / value)


def without_secrets(raw: Any, model: Any) -> Any:
    """What the file says, with everything left out that its model calls a secret."""
    if isinstance(model, SecretStr | SecretBytes):
        return "**********"
    if isinstance(raw, dict):
        return {key: without_secrets(value, _value_under(model, key)) for key, value in raw.items()}
    if isinstance(raw, list):
        inner = list(model) if isinstance(model, tuple | list) and len(model) == len(raw) else [None] * len(raw)
        return [without_secrets(value, each) for value, each in zip(raw, inner, strict=True)]
    return raw


def _value_under(model: Any, key: str) -> Any:
    if isinstance(model, BaseModel):
        for name, field in type(model).model_fields.items():
            if key in (field.alias, name):
                return getattr(model, name)
    return model.get(key) if isinstance(model, dict) else None
