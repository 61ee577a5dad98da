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

from watchdog.cli.command_line import main
from watchdog.config.entries import MAIN_KEYS, RULE_KEYS
from watchdog.config.schema import FileKind, json_schema
from watchdog.documents.yaml_loader import parse_document

ROOT = Path(__file__).parents[2]
SCHEMA_FILES: dict[FileKind, Path] = {
    "rules": ROOT / "docs" / "schema" / "rules.schema.json",
    "main": ROOT / "docs" / "schema" / "watchdog.schema.json",
}
SHIPPED = sorted((ROOT / "rules").glob("*.yaml"))
PAGES = ["docs/rules.md", "rules/README.md", "README.md", "docs/operations.md"]
CASES = re.findall(
    r"^=== (\S+) \| (.+?) \| (.+)\n((?:(?!===).*\n)+)",
    (ROOT / "tests" / "config" / "error_cases.txt").read_text(),
    re.MULTILINE,
)


def parse_yaml(text: str) -> Any:
    if re.search("^groups:", text, re.MULTILINE):
        return yaml.safe_load(text)  # Prometheus knows anchors
    document = parse_document(text.encode(), "f")
    assert document.problems == []
    return document.data


def schema_errors(text: str, kind: FileKind) -> list[str]:
    return [error.message for error in jsonschema.Draft7Validator(json_schema(kind)).iter_errors(parse_yaml(text))]


def kind_of(text: str) -> FileKind:
    return (
        "main"
        if re.search(r"^(sources|channels|people|web|state|reload|history|remind):", text, re.MULTILINE)
        else "rules"
    )


def docs_blocks() -> Iterator[Any]:
    for page in PAGES:
        for number, block in enumerate(
            re.findall(r"^```yaml\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
        ):
            yield pytest.param(block, id=f"{page} {number}")
    for path in [*SHIPPED, *(ROOT / "tests" / "config" / "prometheus").glob("*.yaml")]:
        yield pytest.param(path.read_text(), id=path.name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SCHEMA_FILES)
def test_the_schemas_in_the_docs_are_what_the_models_say(kind: FileKind) -> None:
    assert json.loads(SCHEMA_FILES[kind].read_text()) == json_schema(kind), "the models have changed: say `make schema`"


@pytest.mark.parametrize("kind", SCHEMA_FILES)
def test_the_command_prints_them(kind: FileKind, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", f"--{kind}"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema(kind)


@pytest.mark.parametrize("kind", SCHEMA_FILES)
def test_they_are_schemas_and_explain_every_key(kind: FileKind) -> None:
    made = json_schema(kind)
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
    assert set(json_schema("rules")["else"]["properties"]) == set(RULE_KEYS)
    assert set(json_schema("main")["properties"]) == set(MAIN_KEYS)


@pytest.mark.slow
@pytest.mark.parametrize("text", list(docs_blocks()))
def test_what_is_shipped_and_what_the_docs_show_is_accepted(text: str) -> None:
    assert schema_errors(text, kind_of(text)) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_rule_files_name_the_schema_in_their_first_line(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)

    assert named is not None
    assert (path.parent / named[1]).resolve() == SCHEMA_FILES["rules"]


SCHEMA_DETECTABLE = (
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "name", "fragment", "text"),
    [pytest.param(*case, id=case[1]) for case in CASES if any(sign in case[2] for sign in SCHEMA_DETECTABLE)],
)
def test_mistakes_that_a_schema_can_know_are_rejected(file: str, name: str, fragment: str, text: str) -> None:
    addresses = (
        "listen without a port",
        "listen on too high a port",
        "wrong url",
        "a name of the web with more than a name",
    )
    if name in addresses:
        pytest.skip("only the model knows how an address is written")
    assert schema_errors(text.replace("»", ""), "main" if file == "watchdog.yaml" else "rules")


@pytest.mark.slow
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
        assert schema_errors(rule.format(limit, "5m"), "rules") == [], limit
    for patience in ("30s", "1h 30m", "3 of 5", "250ms"):
        assert schema_errors(rule.format("1", patience), "rules") == [], patience
    for limit, patience in (("high", "5m"), ("[1]", "5m"), ("baseline * 2", "5m"), ("1", "5"), ("1", "5 minutes")):
        assert schema_errors(rule.format(limit, patience), "rules"), (limit, patience)


# ─ the real one ─

LANGUAGE_SERVER = os.environ.get("YAML_LANGUAGE_SERVER") or shutil.which("yaml-language-server")


class LanguageClient:
    """An editor with one file open: speaks the language server protocol with yaml-language-server over its stdio."""

    def __init__(self, text: str) -> None:
        assert LANGUAGE_SERVER is not None
        self.process = subprocess.Popen(
            [LANGUAGE_SERVER, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.patience = threading.Timer(60, self.process.kill)  # then nothing more is heard, and the test fails
        self.patience.start()
        self.uri = (ROOT / "rules" / "open-in-an-editor.yaml").as_uri()
        self.number = 0
        self.findings: list[dict[str, Any]] | None = None
        self.request(
            "initialize",
            {
                "processId": None,
                "rootUri": ROOT.as_uri(),
                "capabilities": {
                    "textDocument": {"completion": {"completionItem": {"documentationFormat": ["markdown"]}}}
                },
            },
        )
        self.notify("initialized", {})
        self.notify(
            "workspace/didChangeConfiguration",
            {
                "settings": {
                    "yaml": {"validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False}}
                }
            },
        )
        self.notify(
            "textDocument/didOpen",
            {"textDocument": {"uri": self.uri, "languageId": "yaml", "version": 1, "text": text}},
        )

    def send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def notify(self, method: str, params: Any) -> None:
        self.send({"method": method, "params": params})

    def request(self, method: str, params: Any) -> Any:
        self.number += 1
        self.send({"id": self.number, "method": method, "params": params})
        while True:
            message = self.receive()
            if message.get("id") == self.number and "method" not in message:
                return message.get("result")

    def receive(self) -> dict[str, Any]:
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
            self.receive()
        return self.findings

    def at(self, line: int, character: int) -> dict[str, Any]:
        return {"textDocument": {"uri": self.uri}, "position": {"line": line, "character": character}}

    def complete(self, line: int, character: int) -> set[str]:
        return {item["label"] for item in self.request("textDocument/completion", self.at(line, character))["items"]}

    def hover(self, line: int, character: int) -> str:
        found = self.request("textDocument/hover", self.at(line, character))
        return "" if found is None else str(found["contents"]["value"])

    def close(self) -> None:
        self.patience.cancel()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def language_clients() -> Iterator[list[LanguageClient]]:
    opened: list[LanguageClient] = []
    yield opened
    for editor in opened:
        editor.close()


SCHEMA_COMMENT = f"# yaml-language-server: $schema={SCHEMA_FILES['rules'].as_uri()}\n"
needs_language_server = pytest.mark.skipif(
    LANGUAGE_SERVER is None, reason="no yaml-language-server on PATH or in YAML_LANGUAGE_SERVER"
)


@pytest.mark.slow
@needs_language_server
def test_an_editor_underlines_what_is_wrong_and_nothing_else(language_clients: list[LanguageClient]) -> None:
    text = (
        "rules:\n"
        "  - name: x\n"
        "    kpi: errors\n"
        "    sumary: hi\n"
        "    crit: {above: high, for: 5}\n"
        "plans:\n"
        "  p: {kind: halt, levels: [{name: l, steps: [{do: systemd, stop: unit, tiemout: 5s}], verify: {that: [a == 0]}}]}\n"
    )
    language_clients += [
        LanguageClient(SCHEMA_COMMENT + text),
        LanguageClient((ROOT / "rules" / "plans.yaml").read_text()),
    ]

    assert sorted({each["range"]["start"]["line"] for each in language_clients[0].diagnostics()}) == [4, 5, 7]
    assert any("sumary" in each["message"] for each in language_clients[0].diagnostics())
    assert any("tiemout" in each["message"] for each in language_clients[0].diagnostics())
    assert language_clients[1].diagnostics() == []


@pytest.mark.slow
@needs_language_server
def test_an_editor_completes_keys_and_words(language_clients: list[LanguageClient]) -> None:
    text = "plans:\n  p:\n    kind: repair\n    mode: \n    \nrules:\n  - name: x\n    \nkpis:\n  k:\n    expr: x\n    unit: \n"
    language_clients.append(LanguageClient(SCHEMA_COMMENT + text))
    language_clients[0].diagnostics()

    assert {"auto", "dry-run"} <= language_clients[0].complete(4, 10)
    assert {"levels", "exhausted", "verify", "latch"} <= language_clients[0].complete(5, 4)
    assert {"kpi", "warn", "crit", "if_missing", "only", "summary"} <= language_clients[0].complete(8, 4)
    assert {"ratio", "bytes", "seconds"} <= language_clients[0].complete(12, 10)


@pytest.mark.slow
@needs_language_server
def test_an_editor_explains_the_key_under_the_cursor(language_clients: list[LanguageClient]) -> None:
    text = "rules:\n  - name: x\n    kpi: k\n    crit: {above: 1, for: 5m, clear: 1}\n    if_missing: {then: hold}\n"
    language_clients.append(LanguageClient(SCHEMA_COMMENT + text))
    language_clients[0].diagnostics()

    assert "How long it must be bad" in language_clients[0].hover(4, 22)
    assert "keep the state" in language_clients[0].hover(5, 19)
