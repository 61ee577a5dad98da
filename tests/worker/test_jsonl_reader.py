"""A bot's lines are read by the bot's own user, who is held to their folder."""

from __future__ import annotations

import pytest

from tests.worker.conftest import World
from watchdog.core.errors import ActionError
from watchdog.core.model import Sample
from watchdog.sources.jsonl_explain import explain_jsonl
from watchdog.sources.jsonl_reader import JsonlSpec, read_jsonl
from watchdog.sources.jsonl_values import LineValue

NOW = 1_700_000_000_000


def spec_of(world: World, files: str) -> JsonlSpec:
    values = {
        "equity": LineValue(last="equity", labels={"of": "of"}),
        "trades_total": LineValue(count="type == 'trade'"),
    }
    return JsonlSpec(str(world.bot / files), values, "ts", "Europe/Berlin", 1_000, 1 << 22, 100)


@pytest.mark.slow
def test_its_owner_reads_it_and_the_state_goes_to_and_fro(world: World) -> None:
    spec = spec_of(world, "*.jsonl")
    world.write("events.jsonl", '{"equity": 5, "of": "\\ud800"}\n', mode=0o600)

    first = world.call(read_jsonl, spec, {}, None, NOW, 5.0)
    world.write("events.jsonl.1", "")
    with (world.bot / "events.jsonl").open("a") as file:
        file.write('{"type": "trade", "ts": 1700000000.5}\n')
    second = world.call(read_jsonl, spec, first.state, first.at, NOW + 1_000, 5.0)

    assert Sample("equity", (("of", "?"),), NOW, 5.0) in first.samples
    assert Sample("trades_total", (), NOW + 1_000, 1.0) in second.samples
    assert [match.key for match in world.call(explain_jsonl, spec, NOW)][:2] == ["time", "values.equity.last"]


@pytest.mark.slow
def test_a_link_out_of_the_folder_leads_nowhere(world: World) -> None:
    (world.outside / "events.jsonl").write_text('{"equity": 5}\n')
    (world.bot / "events.jsonl").symlink_to(world.outside / "events.jsonl")

    with pytest.raises(ActionError, match="leads out of"):
        world.call(read_jsonl, spec_of(world, "events.jsonl"), {}, None, NOW, 5.0)
