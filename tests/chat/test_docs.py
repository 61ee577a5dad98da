"""docs/chat.md is held to what may be said."""

from __future__ import annotations

import re
from pathlib import Path

from watchdog.chat.commands import COMMANDS

PAGE = (Path(__file__).parents[2] / "docs" / "chat.md").read_text()


def test_the_page_lists_every_command_with_its_right_and_no_other() -> None:
    section = PAGE.partition("<!-- commands:")[2].partition("<!-- end of commands -->")[0]
    listed = re.findall(r"^\| `(.+?)` \| `(\w+)` \| (.+) \|$", section, re.MULTILINE)

    assert listed == [
        (form.usage.replace("|", "\\|"), form.right, form.does)
        for form in COMMANDS.values()
        if not form.only_for_buttons
    ]
