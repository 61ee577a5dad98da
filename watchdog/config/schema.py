"""The JSON Schemas of the two kinds of files, for editors: made from the models, and from what their docstrings say."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from watchdog.config.entries import MODELS
from watchdog.config.fields import TAGS, Model, keys, parts_in, tags
from watchdog.config.shape import STATE, Defaults, History, Reload, Web
from watchdog.units import promql_duration

Json = dict[str, Any]
Kind = Literal["rules", "main"]

NAME = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$"
_SPAN = "([0-9]+(\\.[0-9]+)?(ms|[smhdwy]) *)+"
_NUMBER = "[+-]?[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]+)?"
_FILLED = "\\$\\{"
"""What the environment fills in can be anything."""
_WRITTEN: Mapping[str, Json] = {
    "Duration": {"type": "string", "pattern": f"^ *{_SPAN}$|{_FILLED}", "examples": ["30s", "5m", "1h30m", "7d"]},
    "Patience": {"type": "string", "pattern": f"^ *({_SPAN}|[0-9]+ +of +[0-9]+ *)$", "examples": ["5m", "3 of 5"]},
    "Limit": {
        "type": ["number", "string"],
        "examples": ["15%", "512MiB", "60s", 5, "2x baseline", "baseline - 5pp"],
        "pattern": f"^ *({_NUMBER} *[A-Za-z%]* *|{_SPAN}|captured|({_NUMBER} *[x×] *)?baseline *([+-] *{_NUMBER} *[A-Za-z%]* *)?)$",
    },
    "Budget": {"type": "string", "pattern": f"^ *[0-9]{{1,6}} *per *{_SPAN}$", "examples": ["3 per 1h", "7 per 1d"]},
    "Size": {"type": "string", "pattern": f"^ *{_NUMBER} *([kKMGT]?B|[KMGT]iB) *$", "examples": ["2GiB", "500MiB"]},
    "Hours": {
        "type": "string",
        "pattern": "^ *[0-9]{1,2}:[0-9]{2} *[-–] *[0-9]{1,2}:[0-9]{2} *$",
        "examples": ["09:30-16:00"],
    },
    "Zone": {"type": "string", "examples": ["Europe/Berlin", "America/New_York"]},
    "Day": {
        "type": "string",
        "pattern": "^ *([Mm]on|[Tt]ue|[Ww]ed|[Tt]hu|[Ff]ri|[Ss]at|[Ss]un)",
        "examples": ["mon-fri", "sat"],
    },
}
"""Texts with a meaning of their own. The patterns let a few through that `check` refuses, and none the other way round."""


def _ref(name: str) -> Json:
    return {"$ref": f"#/definitions/{name}"}


_READERS: Mapping[str, Json] = {
    "parse_duration": {"x-ref": "Duration"},
    "parse_patience": {"x-ref": "Patience"},
    "_parse_budget": {"anyOf": [{"x-ref": "Budget"}, {"type": "array", "items": {"x-ref": "Budget"}}]},
    "_parse_size": {"x-ref": "Size"},
    "parse_between": {"x-ref": "Hours"},
    "parse_days": {"anyOf": [{"x-ref": "Day"}, {"type": "array", "items": {"x-ref": "Day"}, "minItems": 1}]},
    "parse_zone": {"x-ref": "Zone"},
}
"""A reader of our own → what it reads. The generator would not know a reference to what it has not made itself."""


class _Generate(GenerateJsonSchema):
    """A file holds what goes into our readers, not what comes out."""

    def function_before_schema(self, schema: Any) -> Any:
        name = getattr(schema["function"]["function"], "__name__", "")
        return dict(_READERS[name]) if name in _READERS else super().function_before_schema(schema)


def schema(kind: Kind) -> Json:
    """The schema of ``rules/*.yaml`` or of ``watchdog.yaml``, draft 7: what editors' language servers read."""
    title = f"{'A rule file' if kind == 'rules' else 'watchdog.yaml'} of Trading Watchdog"
    settings: dict[str, Model] = (
        {"defaults": Defaults} if kind == "rules" else {"web": Web, "history": History, "reload": Reload}
    )
    sections = ("targets", "kpis", "rules", "plans") if kind == "rules" else ("sources", "channels")
    definitions = _definitions([*settings.values(), *(model for section in sections for model in MODELS[section])])
    properties = {section: _section(section) for section in sections}
    properties |= {key: _ref(model.__name__) for key, model in settings.items()}
    ours: Json = {"type": ["object", "null"], "additionalProperties": False, "properties": properties}
    if kind == "rules":
        definitions["Rule"]["required"] = ["name"]  # the target may stand in `defaults`
        ours = {"if": {"type": "object", "required": ["groups"]}, "then": _PROMETHEUS, "else": ours}
    else:
        properties["history"] = {"anyOf": [{"const": "off"}, properties["history"]]}
        properties["state"] = {
            "type": "string",
            "minLength": 1,
            "examples": [STATE],
            "description": f"Folder of the journal and the series. When not said {STATE}.",
        }
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": title, **ours, "definitions": definitions}


_ABOUT = {
    "targets": "What is protected: one bot each.",
    "kpis": "Named PromQL expressions over the data.",
    "rules": "When a KPI is bad, how patiently, and which plan that starts.",
    "plans": "What is done about it: a halt makes it safe, a repair is a ladder of levels.",
    "sources": "Where samples come from.",
    "channels": "Where people are told.",
}


_WITH_LIMITS = ("Kpi", "Threshold")


def _section(section: str) -> Json:
    models = MODELS[section]
    one = _ref(models[0].__name__) if len(models) == 1 else _by_tag({model.__name__: model for model in models})
    if section == "rules":
        return {"description": _ABOUT[section], "type": ["array", "null"], "items": one}
    return {
        "description": _ABOUT[section],
        "type": ["object", "null"],
        "propertyNames": {"pattern": NAME},
        "additionalProperties": one,
    }


def _by_tag(members: Mapping[str, Model]) -> Json:
    """One of several, by what it calls itself. An editor then speaks of that one alone, not of all that it is not."""
    tag = next(tag for tag in TAGS if all(tag in tags(model) for model in members.values()))
    named = {name: ref for ref, model in members.items() for name in tags(model)[tag]}
    return {
        "type": "object",
        "required": [tag],
        "properties": {tag: {"enum": list(named)}},
        "allOf": [
            {"if": {"required": [tag], "properties": {tag: {"const": name}}}, "then": _ref(ref)}
            for name, ref in named.items()
        ],
    }


def _definitions(models: list[Model]) -> Json:
    every = _all_under(models)
    asked: list[tuple[Model, JsonSchemaMode]] = [(model, "validation") for model in every]
    refs, made = models_json_schema(asked, ref_template="#/definitions/{model}", schema_generator=_Generate)
    named = {refs[model, "validation"]["$ref"].rpartition("/")[2]: model for model in every}
    definitions = {
        name: _walk(each, named, limits=name in _WITH_LIMITS) for name, each in sorted(made["$defs"].items())
    }
    for name, model in named.items():
        _describe(definitions[name], model)
    return {name: dict(each) for name, each in _WRITTEN.items()} | definitions


def _all_under(models: list[Model]) -> list[Model]:
    """The models, and those that their fields hold."""
    found: dict[Model, None] = {}
    todo = list(models)
    while todo:
        model = todo.pop(0)
        if model not in found:
            found[model] = None
            todo += [part for field in keys(model).values() for part in parts_in(field.annotation)]
    return list(found)


_NUMERAL = ({"type": "string"}, {"type": "integer"}, {"type": "number"})


def _walk(made: Any, named: Mapping[str, Model], *, limits: bool) -> Any:
    """Without titles, which only repeat the key; unions are told apart by their tag, and null is no choice: a key that
    says nothing is better deleted. `limits`: text or number is a limit."""
    if isinstance(made, list):
        return [_walk(each, named, limits=limits) for each in made]
    if not isinstance(made, dict):
        return made
    made = {key: value for key, value in made.items() if not (key == "title" and isinstance(value, str))}
    if "anyOf" in made:
        some = [each for each in made.pop("anyOf") if each != {"type": "null"}]
        if limits and all(each in some for each in _NUMERAL):
            some = [_ref("Limit"), *(each for each in some if each not in _NUMERAL)]
        made |= some[0] if len(some) == 1 else {"anyOf": some}
    if "discriminator" in made:
        refs = [each["$ref"].rpartition("/")[2] for each in made.pop("oneOf")]
        made.pop("discriminator")
        made |= _by_tag({ref: named[ref] for ref in refs})
    if "x-ref" in made:
        made |= _ref(made.pop("x-ref"))
    return {key: _walk(value, named, limits=limits) for key, value in made.items()}


def _describe(definition: Json, model: Model) -> None:
    about = _paragraph(inspect.getdoc(model) or "")
    _say(definition, about)
    told = _attributes(model)
    for name, field in model.model_fields.items():
        made = definition["properties"][field.alias or name]
        _default(made)
        text = told.get(name) or (about if (field.alias or name) in TAGS else "")
        if text:
            _say(made, text)


def _say(made: Json, text: str) -> None:
    made["description"] = text.replace("`", "")
    if "`" in text:
        made["markdownDescription"] = text


def _default(made: Json) -> None:
    """What holds when nothing is said, as one would write it; nothing where that is a whole set of keys."""
    default = made.pop("default", None)
    if made.get("$ref") == "#/definitions/Duration" and isinstance(default, int):
        made["default"] = promql_duration(default)
    elif "$ref" not in made and isinstance(default, str | int | float):
        made["default"] = default


@cache
def _attributes(model: Model) -> dict[str, str]:
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


_TEXTS: Json = {"type": ["object", "null"], "additionalProperties": {"type": "string"}}
_TIME: Json = {"type": "string", "pattern": "^([0-9]+(ms|[smhdwy]))+$|^0$", "examples": ["5m", "1h30m"]}
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
                    "interval": _TIME,
                    "query_offset": _TIME,
                    "limit": {"type": "integer", "minimum": 0},
                    "labels": _TEXTS,
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
                                "for": _TIME,
                                "keep_firing_for": _TIME,
                                "labels": _TEXTS,
                                "annotations": _TEXTS,
                            },
                        },
                    },
                },
            },
        }
    },
}
