"""What is well of something that is not: so that one mistake hides no other.

pydantic judges a model as a whole only where each of its parts is well, and what is no model is held against nothing else. So
the part of it that is well is put together here, for `validate`, and judged as a whole as far as it goes. What was refused
is not there: whoever asks for it gets an AttributeError, and can say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from watchdog.config.model_errors import ConfigNode, intended_key, report_model_errors, report_value_error
from watchdog.config.model_fields import ModelClass, field_by_key, matching_models, model_tags, models_under
from watchdog.documents.problems import closest_name


class Refused:
    """In the place of a list's element that is not well: it has none of the attributes that it should have."""


_REFUSED = Refused()


def salvage(node: ConfigNode, models: Sequence[ModelClass], *, misnamed: bool = False) -> Any:
    """What is well of what stands at `node`, which should have been one of `models`; None: nothing is.

    Reports what is wrong with it as a whole, as far as that follows from what is well, and with what calls itself by a
    misspelt name. `misnamed`: it is itself such a thing.
    """
    if not isinstance(node.raw, dict):
        return None
    matching = matching_models(models, node.raw)
    if not matching:
        return _salvage_misnamed(node, models)
    if len(matching) > 1:
        return None
    (model,) = matching
    if not node.document.contains_rejected(node.path):
        try:
            return model.model_validate(node.raw, by_alias=True, by_name=False)
        except ValidationError:
            pass
    fields = {field.alias or name: name for name, field in model.model_fields.items()}
    meant = {intended_key(node.raw, (key,), models) for key in node.raw if key not in fields}
    values: dict[str, Any] = {}
    refused = []
    for key, name in fields.items():
        value = _salvage_value(node.below(key), model, key) if key in node.raw else _REFUSED
        if value is not _REFUSED:
            values[name] = value
        elif key in node.raw or key in meant or model.model_fields[name].is_required():
            refused.append(name)
    found = model.model_construct({*values, *refused}, **values)
    for name in refused:
        found.__dict__.pop(name, None)
    if not misnamed:  # what it lacks as another thing than it says is not said
        _judge_as_a_whole(node, found)
    return found


def _salvage_misnamed(node: ConfigNode, models: Sequence[ModelClass]) -> Any:
    """The same of one whose tag names none of `models`, read as the one that was probably meant."""
    tags = {name: (tag, model) for model in models for tag, names in model_tags(model).items() for name in names}
    meant = {closest_name(node.raw.get(tag), tags) for tag, _ in tags.values()} - {None}
    for name in meant if len(meant) == 1 else ():
        tag, model = tags[name or ""]
        node = replace(node, raw=node.raw | {tag: name})
        try:
            model.model_validate(node.raw, by_alias=True, by_name=False)
        except ValidationError as error:
            report_model_errors(error, node, (model,), misnamed=True)
        return salvage(node, (model,), misnamed=True)
    return None


def _salvage_value(node: ConfigNode, model: ModelClass, key: str) -> Any:
    raw, inner = node.raw, models_under(model, key)
    if isinstance(raw, list) and inner:
        found = [salvage(node.below(index), inner) for index in range(len(raw))]
        return tuple(_REFUSED if each is None else each for each in found)
    if (part := salvage(node, inner)) is not None:
        return part
    if not node.document.contains_rejected(node.path):
        try:
            return _field_adapter(model, key).validate_python(raw)
        except (ValidationError, RecursionError):
            pass
    if isinstance(raw, list) and field_by_key(model)[key].annotation == tuple[str, ...]:
        return tuple(each if isinstance(each, str) else _REFUSED for each in raw)
    return _REFUSED


@cache
def _field_adapter(model: ModelClass, key: str) -> TypeAdapter[Any]:
    field = field_by_key(model)[key]
    kind: Any = Annotated[field.annotation, None, *field.metadata]
    return TypeAdapter(kind, config=None if models_under(model, key) else ConfigDict(strict=True))


def hangs_together(found: BaseModel) -> bool:
    """Whether nothing is wrong with it as a whole, as far as it is there."""
    return not list(_mistakes_of_the_whole(found))


def _judge_as_a_whole(node: ConfigNode, found: BaseModel) -> None:
    for text in _mistakes_of_the_whole(found):
        report_value_error(node, (), text)


def _mistakes_of_the_whole(found: BaseModel) -> Iterator[str]:
    """What the model's own validators say of it, which pydantic has not asked yet, or not all of them."""
    for validator in type(found).__pydantic_decorators__.model_validators.values():
        if validator.info.mode != "after":
            continue
        try:
            getattr(found, validator.cls_var_name)()
        except AttributeError:
            continue  # it hangs on what was refused
        except ValueError as error:
            yield str(error)
