"""The schemas that editors read: generated, whole, true to what `check` accepts, and of use in a real language server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from watchdog.cli import main
from watchdog.config.entries import MAIN_KEYS, RULE_KEYS
from watchdog.config.marks import parse
from watchdog.config.schema import Kind, schema

HOME = Path(__file__).parent.parent
FILES: dict[Kind, Path] = {
    "rules": HOME / "docs" / "schema" / "rules.schema.json",
    "main": HOME / "docs" / "schema" / "watchdog.schema.json",
}
SHIPPED = sorted((HOME / "rules").glob("*.yaml"))
PAGES = ["docs/rules.md", "rules/README.md", "README.md", "docs/operations.md"]
CASES = re.findall(
    r"^=== (\S+) \| (.+?) \| (.+)\n((?:(?!===).*\n)+)",
    (HOME / "tests" / "config" / "mistakes.txt").read_text(),
    re.MULTILINE,
)


def data_in(text: str) -> Any:
    if re.search("^groups:", text, re.MULTILINE):
        return yaml.safe_load(text)  # Prometheus knows anchors
    document = parse(text.encode(), "f")
    assert document.problems == []
    return document.data


def wrong(text: str, kind: Kind) -> list[str]:
    return [error.message for error in jsonschema.Draft7Validator(schema(kind)).iter_errors(data_in(text))]


def kind_of(text: str) -> Kind:
    return "main" if re.search(r"^(sources|channels|web|state|reload|history):", text, re.MULTILINE) else "rules"


def blocks() -> Iterator[Any]:
    for page in PAGES:
        for number, block in enumerate(
            re.findall(r"^```yaml\n(.*?)^```$", (HOME / page).read_text(), re.MULTILINE | re.DOTALL)
        ):
            yield pytest.param(block, id=f"{page} {number}")
    for path in [*SHIPPED, *(HOME / "tests" / "config" / "prometheus").glob("*.yaml")]:
        yield pytest.param(path.read_text(), id=path.name)


@pytest.mark.parametrize("kind", FILES)
def test_the_schemas_in_the_docs_are_what_the_models_say(kind: Kind) -> None:
    assert json.loads(FILES[kind].read_text()) == schema(kind), "the models have changed: say `make schema`"


@pytest.mark.parametrize("kind", FILES)
def test_the_command_prints_them(kind: Kind, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", f"--{kind}"]) == 0
    assert json.loads(capsys.readouterr().out) == schema(kind)


@pytest.mark.parametrize("kind", FILES)
def test_they_are_schemas_and_explain_every_key(kind: Kind) -> None:
    made = schema(kind)
    jsonschema.Draft7Validator.check_schema(made)
    silent = {
        f"{name}.{key}"
        for name, each in made["definitions"].items()
        for key, said in each.get("properties", {}).items()
        if "description" not in said
    }

    assert silent == set()
    assert "x-ref" not in json.dumps(made)


def test_every_section_of_a_file_is_known() -> None:
    assert set(schema("rules")["else"]["properties"]) == set(RULE_KEYS)
    assert set(schema("main")["properties"]) == set(MAIN_KEYS)


@pytest.mark.parametrize("text", list(blocks()))
def test_what_is_shipped_and_what_the_docs_show_is_accepted(text: str) -> None:
    assert wrong(text, kind_of(text)) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_rule_files_name_the_schema_in_their_first_line(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)

    assert named is not None
    assert (path.parent / named[1]).resolve() == FILES["rules"]


SEEN_BY_A_SCHEMA = (
    "is not known here",
    "did you mean summary",
    "should be",
    "reads like",
    "of what?",
    "put it in quotes",
    "must be at least",
    "needs at least",
    "take the quotes away",
    "say true",
    "url is missing",
    "name is missing",
    "expr is missing",
    "mode is missing",
    "kind is missing",
    "do is missing",
    "type is missing",
    "there is no kind",
    "there is no do",
    "there is no type",
    "unit cannot be",
    "then cannot be",
    "is no name for a target",
)


@pytest.mark.parametrize(
    ("file", "name", "fragment", "text"),
    [pytest.param(*case, id=case[1]) for case in CASES if any(sign in case[2] for sign in SEEN_BY_A_SCHEMA)],
)
def test_mistakes_that_a_schema_can_know_are_rejected(file: str, name: str, fragment: str, text: str) -> None:
    if name in ("listen without a port", "listen on too high a port", "wrong url"):
        pytest.skip("only the model knows how an address is written")
    assert wrong(text.replace("»", ""), "main" if file == "watchdog.yaml" else "rules")


def test_limits_durations_and_patience_are_told_from_other_text() -> None:
    rule = "rules: [{{name: x, kpi: x, warn: {{above: {}, for: {}}}}}]\n"
    for limit in (
        "5",
        "-0.5",
        "15%",
        "512 MiB",
        "1h30m",
        "2x baseline",
        "0.95 × baseline",
        "baseline - 5pp",
        "250 USD",
    ):
        assert wrong(rule.format(limit, "5m"), "rules") == [], limit
    for patience in ("30s", "1h 30m", "3 of 5", "250ms"):
        assert wrong(rule.format("1", patience), "rules") == [], patience
    for limit, patience in (("high", "5m"), ("[1]", "5m"), ("baseline * 2", "5m"), ("1", "5"), ("1", "5 minutes")):
        assert wrong(rule.format(limit, patience), "rules"), (limit, patience)


# ─ the real one ─

SERVER = os.environ.get("YAML_LANGUAGE_SERVER") or shutil.which("yaml-language-server")


class Editor:
    """An editor with one file open: speaks the language server protocol with yaml-language-server over its stdio."""

    def __init__(self, text: str) -> None:
        assert SERVER is not None
        self.process = subprocess.Popen(
            [SERVER, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.patience = threading.Timer(60, self.process.kill)  # then nothing more is heard, and the test fails
        self.patience.start()
        self.uri = (HOME / "rules" / "open-in-an-editor.yaml").as_uri()
        self.number = 0
        self.findings: list[dict[str, Any]] | None = None
        self.ask(
            "initialize",
            {
                "processId": None,
                "rootUri": HOME.as_uri(),
                "capabilities": {
                    "textDocument": {"completion": {"completionItem": {"documentationFormat": ["markdown"]}}}
                },
            },
        )
        self.say("initialized", {})
        self.say(
            "workspace/didChangeConfiguration",
            {
                "settings": {
                    "yaml": {"validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False}}
                }
            },
        )
        self.say(
            "textDocument/didOpen",
            {"textDocument": {"uri": self.uri, "languageId": "yaml", "version": 1, "text": text}},
        )

    def send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def say(self, method: str, params: Any) -> None:
        self.send({"method": method, "params": params})

    def ask(self, method: str, params: Any) -> Any:
        self.number += 1
        self.send({"id": self.number, "method": method, "params": params})
        while True:
            message = self.hear()
            if message.get("id") == self.number and "method" not in message:
                return message.get("result")

    def hear(self) -> dict[str, Any]:
        """One message; what the server asks of us is answered with nothing."""
        assert self.process.stdout is not None
        length = 0
        while (line := self.process.stdout.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        assert length, "the language server has ended"
        message: dict[str, Any] = json.loads(self.process.stdout.read(length))
        if message.get("method") == "textDocument/publishDiagnostics" and message["params"]["uri"] == self.uri:
            self.findings = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:
            asked = message["params"].get("items", []) if isinstance(message.get("params"), dict) else []
            settings = {"validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False}}
            answer = [settings if each.get("section") == "yaml" else None for each in asked]
            self.send(
                {"id": message["id"], "result": answer if message["method"] == "workspace/configuration" else None}
            )
        return message

    def diagnostics(self) -> list[dict[str, Any]]:
        while self.findings is None:
            self.hear()
        return self.findings

    def at(self, line: int, character: int) -> dict[str, Any]:
        return {"textDocument": {"uri": self.uri}, "position": {"line": line, "character": character}}

    def complete(self, line: int, character: int) -> set[str]:
        return {item["label"] for item in self.ask("textDocument/completion", self.at(line, character))["items"]}

    def hover(self, line: int, character: int) -> str:
        found = self.ask("textDocument/hover", self.at(line, character))
        return "" if found is None else str(found["contents"]["value"])

    def close(self) -> None:
        self.patience.cancel()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def editors() -> Iterator[list[Editor]]:
    opened: list[Editor] = []
    yield opened
    for editor in opened:
        editor.close()


HEAD = f"# yaml-language-server: $schema={FILES['rules'].as_uri()}\n"
real = pytest.mark.skipif(SERVER is None, reason="no yaml-language-server on PATH or in YAML_LANGUAGE_SERVER")


@real
def test_an_editor_underlines_what_is_wrong_and_nothing_else(editors: list[Editor]) -> None:
    text = (
        "rules:\n"
        "  - name: x\n"
        "    kpi: errors\n"
        "    sumary: hi\n"
        "    crit: {above: high, for: 5}\n"
        "plans:\n"
        "  p: {kind: halt, levels: [{name: l, steps: [{do: systemd, stop: unit, tiemout: 5s}], verify: {that: [a == 0]}}]}\n"
    )
    editors += [Editor(HEAD + text), Editor((HOME / "rules" / "plans.yaml").read_text())]

    assert sorted({each["range"]["start"]["line"] for each in editors[0].diagnostics()}) == [4, 5, 7]
    assert any("sumary" in each["message"] for each in editors[0].diagnostics())
    assert any("tiemout" in each["message"] for each in editors[0].diagnostics())
    assert editors[1].diagnostics() == []


@real
def test_an_editor_completes_keys_and_words(editors: list[Editor]) -> None:
    text = "plans:\n  p:\n    kind: repair\n    mode: \n    \nrules:\n  - name: x\n    \nkpis:\n  k:\n    expr: x\n    unit: \n"
    editors.append(Editor(HEAD + text))
    editors[0].diagnostics()

    assert {"auto", "dry-run"} <= editors[0].complete(4, 10)
    assert {"levels", "exhausted", "verify", "latch"} <= editors[0].complete(5, 4)
    assert {"kpi", "warn", "crit", "if_missing", "only", "summary"} <= editors[0].complete(8, 4)
    assert {"ratio", "bytes", "seconds"} <= editors[0].complete(12, 10)


@real
def test_an_editor_explains_the_key_under_the_cursor(editors: list[Editor]) -> None:
    text = "rules:\n  - name: x\n    kpi: k\n    crit: {above: 1, for: 5m, clear: 1}\n    if_missing: {then: hold}\n"
    editors.append(Editor(HEAD + text))
    editors[0].diagnostics()

    assert "How long it must be bad" in editors[0].hover(4, 22)
    assert "keep the state" in editors[0].hover(5, 19)
