"""The app that the manifest makes may do all that the code asks of Slack, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.support.docs import ROOT
from watchdog.notifiers.slack_events import EVENT_SCOPES

MANIFEST: Any = yaml.safe_load((ROOT / "docs/slack-manifest.yaml").read_text())
METHOD_SCOPES = {
    "apps.connections.open": None,  # the app-level token's
    "chat.postMessage": "chat:write",
    "chat.postEphemeral": "chat:write",
    "chat.update": "chat:write",
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
}
"""Method → the scope that it needs (https://docs.slack.dev/reference/methods)."""


def test_the_manifest_holds_the_scopes_of_all_that_is_used_and_no_others() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "watchdog/notifiers").glob("slack*.py"))
    used = set(re.findall(r"\"((?:chat|files|conversations|users|reactions|views|apps|auth)\.[a-zA-Z.]+)\"", code))
    assert used >= {"chat.postMessage", "chat.postEphemeral"}
    assert used <= METHOD_SCOPES.keys(), "say here which scope it needs"
    scopes = {METHOD_SCOPES[method] for method in used} - {None} | set(EVENT_SCOPES.values()) | {"commands"}

    held = set(MANIFEST["oauth_config"]["scopes"]["bot"])

    assert scopes == held


def test_the_manifest_asks_for_the_events_that_are_read() -> None:
    settings = MANIFEST["settings"]

    assert settings["event_subscriptions"]["bot_events"] == list(EVENT_SCOPES)
    assert settings["socket_mode_enabled"] is settings["interactivity"]["is_enabled"] is True
    assert "request_url" not in str(MANIFEST)


def test_people_can_write_to_the_bot_and_have_its_command() -> None:
    features = MANIFEST["features"]

    assert features["app_home"] == {
        "home_tab_enabled": False,
        "messages_tab_enabled": True,
        "messages_tab_read_only_enabled": False,
    }
    assert [each["command"] for each in features["slash_commands"]] == ["/watchdog"]


def test_the_manifest_keeps_to_slacks_limits() -> None:
    """https://docs.slack.dev/reference/app-manifest"""
    shown, (command,) = MANIFEST["display_information"], MANIFEST["features"]["slash_commands"]

    assert len(shown["name"]) <= 35
    assert len(shown["description"]) <= 140
    assert len(command["description"]) <= 2_000
    assert len(command["usage_hint"]) <= 1_000
    assert re.fullmatch("[a-z0-9_.-]{1,80}", MANIFEST["features"]["bot_user"]["display_name"])
