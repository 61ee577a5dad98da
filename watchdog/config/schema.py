"""The JSON Schemas of the two kinds of files, for editors: made from the models, and from what their docstrings say."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from watchdog.config.entries import SECTION_MODELS
from watchdog.config.model_fields import TAG_KEYS, ModelClass, field_by_key, model_tags, models_in
from watchdog.config.models import DEFAULT_STATE_FOLDER, Defaults, History, Reload, Web
from watchdog.config.summary import Summary
from watchdog.core.target import Escalation
from watchdog.core.units import format_promql_duration

Json = dict[str, Any]
FileKind = Literal["rules", "main"]

NAME_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$"
_DURATION = "([0-9]+(\\.[0-9]+)?(ms|[smhdwy]) *)+"
_NUMBER = "[+-]?[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]+)?"
_VARIABLE = "\\$\\{"
"""What the environment or a target fills in can be anything."""
_TEXT_TYPES: Mapping[str, Json] = {
    "Duration": {
        "type": "string",
        "pattern": f"^ *{_DURATION}$|{_VARIABLE}",
        "examples": ["30s", "5m", "1h30m", "7d"],
    },
    "Patience": {
        "type": "string",
        "pattern": f"^ *({_DURATION}|[0-9]+ +of +[0-9]+ *)$|{_VARIABLE}",
        "examples": ["5m", "3 of 5"],
    },
    "Limit": {
        "type": ["number", "string"],
        "examples": ["15%", "512MiB", "60s", 5, "2x baseline", "baseline - 5pp"],
        "pattern": f"^ *({_NUMBER} *[A-Za-z%]* *|{_DURATION}|captured|"
        f"({_NUMBER} *[x×] *)?baseline *([+-] *{_NUMBER} *[A-Za-z%]* *)?)$|{_VARIABLE}",
    },
    "Budget": {
        "type": "string",
        "pattern": f"^ *[0-9]{{1,6}} *per *{_DURATION}$|{_VARIABLE}",
        "examples": ["3 per 1h", "7 per 1d"],
    },
    "Size": {"type": "string", "pattern": f"^ *{_NUMBER} *([kKMGT]?B|[KMGT]iB) *$", "examples": ["2GiB", "500MiB"]},
    "Hours": {
        "type": "string",
        "pattern": "^ *[0-9]{1,2}:[0-9]{2} *[-–] *[0-9]{1,2}:[0-9]{2} *$",
        "examples": ["09:30-16:00"],
    },
    "TimeOfDay": {"type": "string", "pattern": "^ *[0-9]{1,2}:[0-9]{2} *$", "examples": ["08:00"]},
    "Zone": {"type": "string", "examples": ["Europe/Berlin", "America/New_York"]},
    "Day": {
        "type": "string",
        "pattern": "^ *([Mm]on|[Tt]ue|[Ww]ed|[Tt]hu|[Ff]ri|[Ss]at|[Ss]un)",
        "examples": ["mon-fri", "sat"],
    },
    "Weekday": {
        "type": "string",
        "pattern": "^ *([Mm]on|[Tt]ue|[Ww]ed|[Tt]hu|[Ff]ri|[Ss]at|[Ss]un) *$",
        "examples": ["mon", "sun"],
    },
}
"""Texts with a meaning of their own. The patterns let a few through that `check` refuses, and none the other way round."""


def _ref(name: str) -> Json:
    return {"$ref": f"#/definitions/{name}"}


_PARSER_SCHEMAS: Mapping[str, Json] = {
    "parse_duration": {"x-ref": "Duration"},
    "parse_patience": {"x-ref": "Patience"},
    "_parse_budget": {"anyOf": [{"x-ref": "Budget"}, {"type": "array", "items": {"x-ref": "Budget"}}]},
    "_parse_message_limit": {"x-ref": "Budget"},
    "_parse_size": {"x-ref": "Size"},
    "parse_between": {"x-ref": "Hours"},
    "parse_days": {"anyOf": [{"x-ref": "Day"}, {"type": "array", "items": {"x-ref": "Day"}, "minItems": 1}]},
    "parse_zone": {"x-ref": "Zone"},
    "parse_time_of_day": {"x-ref": "TimeOfDay"},
    "parse_weekday": {"x-ref": "Weekday"},
}
"""A reader of our own → what it reads. The generator would not know a reference to what it has not made itself."""


class _Generate(GenerateJsonSchema):
    """A file holds what goes into our readers, not what comes out."""

    def function_before_schema(self, schema: Any) -> Any:
        name = getattr(schema["function"]["function"], "__name__", "")
        return dict(_PARSER_SCHEMAS[name]) if name in _PARSER_SCHEMAS else super().function_before_schema(schema)


def json_schema(kind: FileKind) -> Json:
    """The schema of ``rules/*.yaml`` or of ``watchdog.yaml``, draft 7: what editors' language servers read."""
    title = f"{'A rule file' if kind == 'rules' else 'watchdog.yaml'} of Trading Watchdog"
    settings: dict[str, ModelClass] = (
        {"defaults": Defaults}
        if kind == "rules"
        else {"web": Web, "history": History, "reload": Reload, "escalate": Escalation, "summary": Summary}
    )
    sections = ("targets", "kpis", "rules", "plans") if kind == "rules" else ("sources", "channels", "people")
    definitions = _definitions(
        [*settings.values(), *(model for section in sections for model in SECTION_MODELS[section])]
    )
    properties = {section: _section(section) for section in sections}
    properties |= {key: _ref(model.__name__) for key, model in settings.items()}
    body: Json = {"type": ["object", "null"], "additionalProperties": False, "properties": properties}
    if kind == "rules":
        definitions["Rule"]["required"] = ["name"]  # the target may stand in `defaults`
        body = {"if": {"type": "object", "required": ["groups"]}, "then": _PROMETHEUS, "else": body}
    else:
        properties["history"] = {"anyOf": [{"const": "off"}, properties["history"]]}
        properties["remind"] = {
            "anyOf": [{"const": "off"}, _ref("Duration")],
            "description": "After how long people are told that a critical incident is still open and nobody has"
            " acknowledged it; twice as long each time, up to a day. When not said 1h.",
        }
        properties["state"] = {
            "type": "string",
            "minLength": 1,
            "examples": [DEFAULT_STATE_FOLDER],
            "description": f"Folder of the journal and the series. When not said {DEFAULT_STATE_FOLDER}.",
        }
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": title, **body, "definitions": definitions}


_SECTION_DESCRIPTIONS = {
    "targets": "What is protected: one bot each.",
    "kpis": "Named PromQL expressions over the data.",
    "rules": "When a KPI is bad, how patiently, and which plan that starts.",
    "plans": "What is done about it: a halt makes it safe, a repair is a ladder of levels.",
    "sources": "Where samples come from.",
    "channels": "Where people are told.",
    "people": "Who may answer in the chats.",
}


_MODELS_WITH_LIMITS = ("Kpi", "Threshold")


def _section(section: str) -> Json:
    models = SECTION_MODELS[section]
    one = _ref(models[0].__name__) if len(models) == 1 else _by_tag({model.__name__: model for model in models})
    if section == "rules":
        return {"description": _SECTION_DESCRIPTIONS[section], "type": ["array", "null"], "items": one}
    return {
        "description": _SECTION_DESCRIPTIONS[section],
        "type": ["object", "null"],
        "propertyNames": {"pattern": NAME_PATTERN},
        "additionalProperties": one,
    }


def _by_tag(members: Mapping[str, ModelClass]) -> Json:
    """One of several, by what it calls itself. An editor then speaks of that one alone, not of all that it is not."""
    tag = next(tag for tag in TAG_KEYS if all(tag in model_tags(model) for model in members.values()))
    named = {name: ref for ref, model in members.items() for name in model_tags(model)[tag]}
    return {
        "type": "object",
        "required": [tag],
        "properties": {tag: {"enum": list(named)}},
        "allOf": [
            {"if": {"required": [tag], "properties": {tag: {"const": name}}}, "then": _ref(ref)}
            for name, ref in named.items()
        ],
    }


def _definitions(models: list[ModelClass]) -> Json:
    every = _all_under(models)
    asked: list[tuple[ModelClass, JsonSchemaMode]] = [(model, "validation") for model in every]
    refs, made = models_json_schema(asked, ref_template="#/definitions/{model}", schema_generator=_Generate)
    named = {refs[model, "validation"]["$ref"].rpartition("/")[2]: model for model in every}
    definitions = {
        name: _simplify(each, named, limits=name in _MODELS_WITH_LIMITS) for name, each in sorted(made["$defs"].items())
    }
    for name, model in named.items():
        _describe(definitions[name], model)
    return {name: dict(each) for name, each in _TEXT_TYPES.items()} | definitions


def _all_under(models: list[ModelClass]) -> list[ModelClass]:
    """The models, and those that their fields hold."""
    found: dict[ModelClass, None] = {}
    todo = list(models)
    while todo:
        model = todo.pop(0)
        if model not in found:
            found[model] = None
            todo += [part for field in field_by_key(model).values() for part in models_in(field.annotation)]
    return list(found)


_NUMBER_OR_TEXT = ({"type": "string"}, {"type": "integer"}, {"type": "number"})


def _simplify(made: Any, named: Mapping[str, ModelClass], *, limits: bool) -> Any:
    """Without titles, which only repeat the key; unions are told apart by their tag, and null is no choice: a key that
    says nothing is better deleted. `limits`: text or number is a limit."""
    if isinstance(made, list):
        return [_simplify(each, named, limits=limits) for each in made]
    if not isinstance(made, dict):
        return made
    made = {key: value for key, value in made.items() if not (key == "title" and isinstance(value, str))}
    if "anyOf" in made:
        some = [each for each in made.pop("anyOf") if each != {"type": "null"}]
        if limits and all(each in some for each in _NUMBER_OR_TEXT):
            some = [_ref("Limit"), *(each for each in some if each not in _NUMBER_OR_TEXT)]
        made |= some[0] if len(some) == 1 else {"anyOf": some}
    if "discriminator" in made:
        refs = [each["$ref"].rpartition("/")[2] for each in made.pop("oneOf")]
        made.pop("discriminator")
        made |= _by_tag({ref: named[ref] for ref in refs})
    if "x-ref" in made:
        made |= _ref(made.pop("x-ref"))
    return {key: _simplify(value, named, limits=limits) for key, value in made.items()}


def _describe(definition: Json, model: ModelClass) -> None:
    about = _paragraph(inspect.getdoc(model) or "")
    _set_description(definition, about)
    field_docs = _field_docstrings(model)
    for name, field in model.model_fields.items():
        made = definition["properties"][field.alias or name]
        _set_default(made)
        text = field_docs.get(name) or (about if (field.alias or name) in TAG_KEYS else "")
        if text:
            _set_description(made, text)


def _set_description(made: Json, text: str) -> None:
    made["description"] = text.replace("`", "")
    if "`" in text:
        made["markdownDescription"] = text


def _set_default(made: Json) -> None:
    """What holds when nothing is said, as one would write it; nothing where that is a whole set of keys."""
    default = made.pop("default", None)
    if made.get("$ref") == "#/definitions/Duration" and isinstance(default, int):
        made["default"] = format_promql_duration(default)
    elif "$ref" not in made and isinstance(default, str | int | float):
        made["default"] = default


@cache
def _field_docstrings(model: ModelClass) -> dict[str, str]:
    """Field → the docstring beneath it, also where a base class says it."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if not hasattr(each, "model_fields") or each.__module__.startswith("pydantic"):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        assert isinstance(body, ast.ClassDef)
        for first, second in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(first, ast.AnnAssign)
                and isinstance(second, ast.Expr)
                and isinstance(second.value, ast.Constant)
            ):
                found[ast.unparse(first.target)] = _paragraph(str(second.value.value))
    return found


def _paragraph(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


_STRING_MAP: Json = {"type": ["object", "null"], "additionalProperties": {"type": "string"}}
_PROMETHEUS_DURATION: Json = {"type": "string", "pattern": "^([0-9]+(ms|[smhdwy]))+$|^0$", "examples": ["5m", "1h30m"]}
_PROMETHEUS: Json = {
    "description": "A file in Prometheus's own rule format.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "groups": {
            "type": ["array", "null"],
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "description": "Unique in this file."},
                    "interval": _PROMETHEUS_DURATION,
                    "query_offset": _PROMETHEUS_DURATION,
                    "limit": {"type": "integer", "minimum": 0},
                    "labels": _STRING_MAP,
                    "rules": {
                        "type": ["array", "null"],
                        "items": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["expr"],
                            "properties": {
                                "alert": {"type": "string", "description": "Name of the alert."},
                                "record": {
                                    "type": "string",
                                    "description": "Name of the metric that the expression is read as.",
                                },
                                "expr": {"type": ["string", "number"], "description": "PromQL."},
                                "for": _PROMETHEUS_DURATION,
                                "keep_firing_for": _PROMETHEUS_DURATION,
                                "labels": _STRING_MAP,
                                "annotations": _STRING_MAP,
                            },
                        },
                    },
                },
            },
        }
    },
}
