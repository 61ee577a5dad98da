"""Go's templates, as far as alerts use them: actions, variables, pipelines, if, with, range, and the helper functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from watchdog.prometheus_rules.gofmt import format_value
from watchdog.prometheus_rules.helpers import TEMPLATE_FUNCTIONS, TemplateError, is_true
from watchdog.prometheus_rules.syntax import unescape_go_string

_QUOTE_OR_END = re.compile(r""""(?:\\.|[^"\\])*"?|`[^`]*`?|/\*.*?(?:\*/|\Z)|\}\}""", re.DOTALL)
"""What may hold the end of an action without ending it, and that end. What is never closed goes on to the end of the text."""
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:\\.|[^"\\])*")|(?P<raw>`[^`]*`)|(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?))"""
    r"""|(?P<name>\$?\w*(?:\.\w+)+|\$\w*|\w+|\.)|(?P<sign>:=|=|\||\(|\)|,))"""
)

_UNSUPPORTED = ("define", "template", "block", "break", "continue")

QueryFunction = Callable[[str], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class _Const:
    value: Any


@dataclass(frozen=True, slots=True)
class _Path:
    """``$name.a.b``, or ``.a.b`` of the dot (`start` empty)."""

    start: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Function:
    name: str


@dataclass(frozen=True, slots=True)
class _Pipe:
    commands: tuple[tuple[Any, ...], ...]
    variables: tuple[str, ...] = ()
    declares: bool = True


@dataclass(slots=True)
class _Block:
    """Text, actions and blocks in their order; `word` is if, with or range, or empty for the whole."""

    keyword: str
    pipe: _Pipe | None
    body: list[Any] = field(default_factory=list)
    other: list[Any] = field(default_factory=list)
    nested: bool = False
    """Began with ``else if``: shares its end with the block around it."""
    has_else: bool = False


class Template:
    """A text with actions. Reading it raises TemplateError for what is wrong, or not supported, by name."""

    def __init__(
        self, text: str, variables: Sequence[str] = ("labels", "externalLabels", "externalURL", "value")
    ) -> None:
        self.text = text
        self._root = _parse(text, {f"${name}" for name in variables} | {"$"}) if "{{" in text else None

    def queries(self) -> list[str]:
        """The expressions that it asks with `query "…"`."""
        return [] if self._root is None else list(_queries(self._root))

    def render(self, data: Mapping[str, Any], variables: Mapping[str, Any], query: QueryFunction) -> str:
        """The text with everything filled in. Raises TemplateError."""
        if self._root is None:
            return self.text
        out: list[str] = []
        scope = {"$": data, **{f"${name}": value for name, value in variables.items()}}
        _Renderer(query, out).render(self._root.body, data, scope)
        return "".join(out)


def _parse(text: str, known: set[str]) -> _Block:
    root = _Block("", None)
    stack = [root]
    trim, position = False, 0
    while (start := text.find("{{", position)) >= 0:
        end = next((found for found in _QUOTE_OR_END.finditer(text, start + 2) if found[0] == "}}"), None)
        if end is None:
            raise TemplateError("{{ is not closed")
        body = text[start + 2 : end.start()]
        left, right = body[:1] == "-" and body[1:2].isspace(), body[-1:] == "-" and body[-2:-1].isspace()
        between = text[position:start]
        _add_text(stack[-1], between.lstrip() if trim else between, strip=left)
        trim, position = right, end.end()
        body = body[left : len(body) - right]
        if not body.strip().startswith("/*"):
            _parse_action(stack, _ActionTokens(body, known))
    rest = text[position:]
    _add_text(stack[-1], rest.lstrip() if trim else rest, strip=False)
    if len(stack) > 1:
        raise TemplateError(f"{{{{ {stack[-1].keyword} }}}} has no {{{{ end }}}}")
    return root


def _queries(part: Any) -> Iterator[str]:
    match part:
        case _Block(pipe=pipe, body=body, other=other):
            for each in (pipe, *body, *other):
                yield from _queries(each)
        case _Pipe(commands=commands):
            for command in commands:
                if len(command) == 2 and command[0] == _Function("query") and isinstance(command[1], _Const):
                    yield str(command[1].value)
                for operand in command:
                    yield from _queries(operand)


def _add_text(block: _Block, text: str, *, strip: bool) -> None:
    if text := text.rstrip() if strip else text:
        _current_body(block).append(text)


def _current_body(block: _Block) -> list[Any]:
    return block.other if block.has_else else block.body


def _parse_action(stack: list[_Block], tokens: _ActionTokens) -> None:
    word = tokens.peek()
    if word in _UNSUPPORTED:
        raise TemplateError(f"{word} is not supported in templates")
    if word == "end":
        tokens.take()
        tokens.expect_end()
        closed = stack.pop()
        while closed.nested:
            closed = stack.pop()
        if not stack:
            raise TemplateError("{{ end }} closes nothing")
    elif word == "else":
        tokens.take()
        block = stack[-1]
        if not block.keyword or block.has_else:
            raise TemplateError("{{ else }} belongs to nothing")
        block.has_else = True
        if tokens.peek() is not None:
            follow = tokens.take()
            if follow != "if" and follow != "with":
                raise TemplateError(f"{{{{ else {follow} }}}} means nothing")
            inner = _Block(follow, tokens.parse_pipe(), nested=True)
            block.other.append(inner)
            stack.append(inner)
    elif word in ("if", "with", "range"):
        tokens.take()
        block = _Block(word, tokens.parse_pipe())
        _current_body(stack[-1]).append(block)
        stack.append(block)
    elif word is None:
        raise TemplateError("{{ }} holds nothing")
    else:
        _current_body(stack[-1]).append(tokens.parse_pipe())


class _ActionTokens:
    """The words of one action."""

    def __init__(self, body: str, known: set[str]) -> None:
        self._known = known
        self._tokens: list[tuple[str, str]] = []
        body, position = body.rstrip(), 0
        while position < len(body):
            found = _TOKEN.match(body, position)
            if found is None or found.lastgroup is None:
                raise TemplateError(f"{{{{{body}}}}}: {body[position:].strip()[:20]!r} cannot be read")
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            position = found.end()

    def peek(self, ahead: int = 0) -> str | None:
        return self._tokens[ahead][1] if len(self._tokens) > ahead else None

    def take(self) -> str:
        return self._tokens.pop(0)[1]

    def expect_end(self) -> None:
        if self._tokens:
            raise TemplateError(f"{self._tokens[0][1]!r} is too much")

    def parse_pipe(self) -> _Pipe:
        pipe = self._parse_pipe()
        self.expect_end()
        return pipe

    def _parse_pipe(self) -> _Pipe:
        variables: tuple[str, ...] = ()
        declares = True
        if (first := self.peek()) is not None and first.startswith("$"):
            if self.peek(1) in (":=", "="):
                variables, declares = (self.take(),), self.take() == ":="
            elif self.peek(1) == "," and self.peek(3) == ":=":
                name = self.take()
                self.take()
                variables = (name, self.take())
                self.take()
        commands = [self._parse_command()]
        while self.peek() == "|":
            self.take()
            commands.append(self._parse_command())
        self._known.update(variables)
        return _Pipe(tuple(commands), variables, declares)

    def _parse_command(self) -> tuple[Any, ...]:
        operands = []
        while self._tokens and self._tokens[0][1] not in ("|", ")"):
            operands.append(self._parse_operand())
        if not operands:
            raise TemplateError("a value is missing")
        return tuple(operands)

    def _parse_operand(self) -> Any:
        kind, text = self._tokens.pop(0)
        if text == "(" and kind == "sign":
            inner = self._parse_pipe()
            if self.peek() != ")":
                raise TemplateError("a ) is missing")
            self.take()
            return inner
        if kind == "sign":
            raise TemplateError(f"{text!r} has no place there")
        if kind == "text":
            try:
                return _Const(unescape_go_string(text[1:-1]))
            except ValueError as error:
                raise TemplateError(str(error)) from None
        if kind == "raw":
            return _Const(text[1:-1])
        if kind == "number":
            return _Const(int(text, 0) if re.fullmatch(r"[+-]?(\d+|0[xX]\w+)", text) else float(text))
        if text in ("true", "false", "nil"):
            return _Const({"true": True, "false": False, "nil": None}[text])
        if text.startswith((".", "$")):
            start, *fields = text.split(".")
            if start and start not in self._known:
                raise TemplateError(f"undefined variable {start!r}")
            return _Path(start, tuple(name for name in fields if name))
        if text not in TEMPLATE_FUNCTIONS and text != "query":
            raise TemplateError(f"the template function {text!r} is not supported")
        return _Function(text)


class _Renderer:
    def __init__(self, query: QueryFunction, out: list[str]) -> None:
        self._query = query
        self._out = out

    def render(self, body: Sequence[Any], dot: Any, scope: dict[str, Any]) -> None:
        for part in body:
            match part:
                case str():
                    self._out.append(part)
                case _Pipe():
                    value = self._pipe_value(part, dot, scope)
                    if part.variables:
                        self._assign(part, value, scope)
                    else:
                        self._out.append(format_value(value))
                case _Block():
                    self._render_block(part, dot, scope)

    def _assign(self, pipe: _Pipe, value: Any, scope: dict[str, Any]) -> None:
        scope[pipe.variables[-1]] = value

    def _render_block(self, block: _Block, dot: Any, scope: dict[str, Any]) -> None:
        assert block.pipe is not None
        value = self._pipe_value(block.pipe, dot, scope)
        if block.keyword == "range":
            self._render_range(block, value, dot, scope)
            return
        inner = dict(scope)
        if block.pipe.variables:
            self._assign(block.pipe, value, inner)
        if is_true(value):
            self.render(block.body, value if block.keyword == "with" else dot, inner)
        else:
            self.render(block.other, dot, inner)
        self._propagate_assignments(scope, inner, block)

    def _render_range(self, block: _Block, value: Any, dot: Any, scope: dict[str, Any]) -> None:
        assert block.pipe is not None
        if isinstance(value, Mapping):
            entries = [(key, value[key]) for key in sorted(value)]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            entries = list(enumerate(value))
        else:
            raise TemplateError(f"range can't iterate over {format_value(value)}")
        if not entries:
            self.render(block.other, dot, dict(scope))
        for key, each in entries:
            inner = dict(scope)
            inner |= dict(
                zip(block.pipe.variables, (key, each) if len(block.pipe.variables) == 2 else (each,), strict=False)
            )
            self.render(block.body, each, inner)
            self._propagate_assignments(scope, inner, block)

    def _propagate_assignments(self, scope: dict[str, Any], inner: Mapping[str, Any], block: _Block) -> None:
        """``=`` inside a block changes the variable outside; ``:=`` makes one that ends with the block."""
        pipes = [part for part in (*block.body, *block.other) if isinstance(part, _Pipe) and part.declares]
        made = {name for pipe in pipes for name in pipe.variables}
        made |= set(block.pipe.variables) if block.pipe is not None else set()
        scope.update({name: inner[name] for name in scope if name not in made})

    def _pipe_value(self, pipe: _Pipe, dot: Any, scope: Mapping[str, Any]) -> Any:
        last: tuple[Any, ...] = ()
        for command in pipe.commands:
            last = (self._call(command, last, dot, scope),)
        return last[0]

    def _call(self, command: Sequence[Any], last: tuple[Any, ...], dot: Any, scope: Mapping[str, Any]) -> Any:
        head = command[0]
        if isinstance(head, _Function):
            args = [*(self._operand_value(each, dot, scope) for each in command[1:]), *last]
            call = self._query if head.name == "query" else TEMPLATE_FUNCTIONS[head.name]
            try:
                return call(*args)
            except (TypeError, ValueError, AttributeError, KeyError) as error:
                raise TemplateError(f"error calling {head.name}: {error}") from None
        if len(command) > 1 or last:
            raise TemplateError("can't give argument to non-function")
        return self._operand_value(head, dot, scope)

    def _operand_value(self, operand: Any, dot: Any, scope: Mapping[str, Any]) -> Any:
        match operand:
            case _Const(value=value):
                return value
            case _Pipe():
                return self._pipe_value(operand, dot, scope)
            case _Function():
                return self._call((operand,), (), dot, scope)
        value = scope[operand.start] if operand.start else dot
        for name in operand.fields:
            if isinstance(value, LabelMap):
                value = value.get(name, "")
            elif isinstance(value, Mapping) and name in value:
                value = value[name]
            else:
                raise TemplateError(f"can't evaluate field {name}")
        return value


class LabelMap(dict[str, str]):
    """Labels: one that is not there is the empty text."""
