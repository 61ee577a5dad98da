"""What a model of ours takes: asked of the model itself, so that no list of keys stands anywhere twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from watchdog.core.model import PathField
from watchdog.core.units import parse_duration
from watchdog.documents.document import KeyPath
from watchdog.rules import parse_patience

ModelClass = type[BaseModel]

TAG_KEYS = ("type", "do", "kind")
"""The keys by which a part says what it is."""


@cache
def field_by_key(model: ModelClass) -> dict[str, FieldInfo]:
    """Key in the file → field."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def required_keys(model: ModelClass) -> list[str]:
    return [key for key, field in field_by_key(model).items() if field.is_required()]


def models_in(annotation: Any) -> tuple[ModelClass, ...]:
    """Every model that a type mentions: the members of a union, what a list holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(dict.fromkeys(part for each in get_args(annotation) for part in models_in(each)))


@cache
def models_under(model: ModelClass, key: str) -> tuple[ModelClass, ...]:
    field = field_by_key(model).get(key)
    return () if field is None else models_in(field.annotation)


@cache
def model_tags(model: ModelClass) -> dict[str, tuple[str, ...]]:
    """``{"do": ("git",)}``: what the model calls itself."""
    fields = field_by_key(model)
    return {
        tag: get_args(fields[tag].annotation)
        for tag in TAG_KEYS
        if tag in fields and get_origin(fields[tag].annotation) is Literal
    }


def matching_models(models: Sequence[ModelClass], raw: Any) -> list[ModelClass]:
    """Those of a union that this mapping may be, by its tag."""
    if not isinstance(raw, dict):
        return []
    return [model for model in models if all(raw.get(tag) in names for tag, names in model_tags(model).items())]


def models_at(models: Sequence[ModelClass], raw: Any, path: KeyPath) -> list[ModelClass]:
    """What may stand at a path below something that is one of `models`."""
    is_name = False
    for part in path:
        if is_name:
            is_name = False  # of a set of keys that the user names: each holds what the set does
        elif isinstance(part, str):
            matching = matching_models(models, raw)
            is_name = any(_holds_named(model, part) for model in matching)
            models = [under for model in matching for under in models_under(model, part)]
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            return []
    return list(models)


@cache
def _holds_named(model: ModelClass, key: str) -> bool:
    """Whether the user names what stands below a key."""
    field = field_by_key(model).get(key)
    return field is not None and get_origin(field.annotation) is dict


@cache
def _is_duration(model: ModelClass, key: str) -> bool:
    field = field_by_key(model)[key]
    return any(
        isinstance(each, BeforeValidator) and each.func in (parse_duration, parse_patience)
        for each in _metadata(field.annotation, field.metadata)
    )


def _metadata(annotation: Any, outer: Sequence[Any] = ()) -> Iterator[Any]:
    yield from outer
    yield from getattr(annotation, "__metadata__", ())
    for each in get_args(annotation):
        yield from _metadata(each)


@cache
def path_field(model: ModelClass, key: str) -> PathField | None:
    """What kind of path a key holds; None when it holds none."""
    field = field_by_key(model).get(key)
    marks = () if field is None else _metadata(field.annotation, field.metadata)
    return next((mark for mark in marks if isinstance(mark, PathField)), None)


@cache
def holds_config_paths(model: ModelClass) -> bool:
    """Whether it, or a model beneath it, has a path that starts from the folder of watchdog.yaml."""
    return any(
        path.relative_to == "config"
        if (path := path_field(model, key)) is not None
        else any(under is not model and holds_config_paths(under) for under in models_under(model, key))
        for key in field_by_key(model)
    )


def find_bare_durations(models: Sequence[ModelClass], raw: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Where a number stands for a duration. Code may pass milliseconds; in a file nobody could tell their unit."""
    if isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from find_bare_durations(models, value, (*path, index))
        return
    for model in matching_models(models, raw):
        for key, value in raw.items():
            if key not in field_by_key(model):
                continue
            if isinstance(value, int) and not isinstance(value, bool) and _is_duration(model, key):
                yield (*path, key)
            elif isinstance(value, dict | list):
                yield from find_bare_durations(models_under(model, key), value, (*path, key))
