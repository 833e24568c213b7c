"""Finished runs on their way out: packed, archived, removed. Whoever reads a run sees no difference while it is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.core.signals import Signal, SignalKind
from app.errors import EngineFault, InvalidInput, NotFound, Unavailable
from app.settings import Settings
from app.store import retention as retention_module
from app.store.client import Batcher
from app.store.ids import new_trigger_ids
from app.store.store import Store
from tests.store.test_engine_fault import end_by_fault
from workers.retention import Retention

FIVE = {"a": {"type": "step"}, "b": {"type": "step", "needs": ["a"]}, "c": {"type": "step", "needs": ["a"]},
        "d": {"type": "step", "needs": ["b", "c"]}, "e": {"type": "step", "needs": ["d"]}}  # fmt: skip
MAP = {"m": {"type": "step", "map": {"over": list(range(12))}}, "z": {"type": "step", "needs": ["m"]}}
MONTH = 30 * 24 * 3600.0


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Everything is due at once: packed where it is small, kept for a month."""
    return settings.model_copy(update={"pack_after": 0.0, "data_uri": f"file:{tmp_path}/data"})


@pytest.fixture
def keeper(store: Store, settings: Settings) -> Callable[..., Retention]:
    """A worker's part, with other settings where a test says so."""
    return lambda **more: Retention(store, settings.model_copy(update=more))


async def five(hand, **more: Any) -> str:
    """A finished run of five nodes."""
    run = await hand.begin(FIVE, **more)
    for node in FIVE:
        await hand.finish(run, node, b'{"uri":"file:part-0.ndjson","count":%d}' % ord(node))
        await hand.decide()
    return run


async def mapped(store: Store, hand) -> str:
    """A finished run with a map of twelve items, one of which has a failed record, and one failed."""
    run = await hand.begin(MAP)
    for index in range(12):
        ref = f"m:{index}"
        if index != 7:
            await hand.finish(run, ref, b"%d" % index)
            continue
        call, epoch = await hand.started(run, ref)
        await store.nodes.records(call, epoch, [{"index": 3, "type": "Bad", "message": "no price"}])
        await store.nodes.fail(call, epoch, "Broken", "all bad", retryable=False)
    await hand.decide()
    return run


async def due(store: Store, run: str) -> None:
    """Its time has come."""
    await store.retention.postpone(run, 0)


async def answers(store: Store, run: str) -> dict[str, Any]:
    """All that can be asked about a run."""
    nodes, _ = await store.runs.nodes(run)
    listed, _ = await store.runs.list()
    found: dict[str, Any] = {"run": await store.runs.get(run), "nodes": nodes, "list": listed}
    for node in nodes:
        ref = node["name"]
        found[ref] = [await store.runs.node(run, ref), await store.runs.attempts(run, ref)]
        found[f"{ref} records"] = await store.runs.records(run, ref, 100, None)
        if "items" in node:
            items = await store.runs.items(run, ref, None, 100, None)
            found[f"{ref} items"] = [
                items, await store.runs.items(run, ref, "failed", 2, None),
                [await store.runs.attempts(run, f"{ref}:{item['item']}") for item in items[0]],
                [await store.runs.records(run, f"{ref}:{item['item']}", 9, None) for item in items[0]],
            ]  # fmt: skip
    found["events"] = await store.events.read(run, "0")
    found["watched"] = [row async for row in store.events.subscribe(run, found["events"][3][0])]
    return found


async def keys_of(store: Store, run: str) -> set[str]:
    names = await store.batcher.call("KEYS", f"{store.keys.tag}:r:{run}*")
    return {name.decode().removeprefix(f"{store.keys.tag}:r:{run}") for name in names}


# packing -----------------------------------------------------------------------------------------------------------


async def test_a_small_finished_run_becomes_one_value_and_answers_as_before(store: Store, hand, keeper):
    run = await five(hand)
    before = await answers(store, run)
    assert await keeper().sweep() == {"packed": 1, "removed": 0}
    assert await keys_of(store, run) == {":p"}
    assert await answers(store, run) == before


async def test_a_packed_run_takes_less_than_three_times_its_raw_checkpoints(store: Store, hand, keeper):
    """P8 without its entries in the indexes: those are measured by `make bench`."""
    run = await five(hand)
    await keeper().sweep()
    assert await store.batcher.call("MEMORY", "USAGE", store.keys.packed(run)) < 800


async def test_a_map_is_packed_with_its_items(store: Store, hand, keeper):
    run = await hand.begin({"m": {"type": "step", "map": {"over": [1, 2, 3]}}})
    for index in range(3):
        await hand.finish(run, f"m:{index}", b"%d" % index)
    await hand.decide()
    before = await answers(store, run)
    assert await keeper().sweep() == {"packed": 1, "removed": 0}
    assert await answers(store, run) == before


async def test_a_large_run_and_one_with_failed_records_stay_as_they_are(
    store: Store, hand, keeper, monkeypatch
):
    first = await mapped(store, hand)
    monkeypatch.setattr(retention_module, "MOST_NODES", 4)
    second = await five(hand, name="w2")
    assert await keeper().sweep() == {"packed": 0, "removed": 0}
    assert ":p" not in await keys_of(store, first) | await keys_of(store, second)
    assert await store.retention.due(await store.workers.now(), 10) == []


async def test_a_run_that_moves_is_not_packed(store: Store, hand, keeper):
    run = await five(hand)
    record = await store.retention.finished(run)
    assert record is not None
    await hand.signal(run, Signal(SignalKind.DUE, "a"))
    graph = await store.graphs.get("w", 1)
    assert await store.retention.pack(record, graph, 0) is False
    assert await keeper().sweep() == {"packed": 0, "removed": 0}
    assert "" in await keys_of(store, run)


async def test_a_late_call_of_a_packed_run_finds_no_node_run(store: Store, hand, keeper):
    run = await five(hand)
    await keeper().sweep()
    assert await store.engine.signal(run, Signal(SignalKind.DUE, "a")) is False
    assert await store.engine.load(run) is None


async def test_a_trigger_delivered_again_after_its_run_was_packed_starts_nothing(store: Store, hand, keeper):
    """A worker that was stopped for minutes still holds the entry."""
    await hand.publish({"name": "w", "nodes": {"a": {"type": "step"}}})
    run = await hand.accept("w")
    trigger = await hand.queued()
    await store.triggers.start_run(trigger, 1)
    await hand.decide()
    await hand.finish(run, "a")
    await hand.decide()
    await keeper().sweep()
    assert await store.triggers.start_run(trigger, 1) is False
    assert await keys_of(store, run) == {":p"}


# removing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
async def test_a_run_whose_time_is_over_leaves_its_receipt_and_nothing_else(
    store: Store, hand, keeper, monkeypatch, packed: bool
):
    if not packed:
        monkeypatch.setattr(retention_module, "MOST_NODES", 4)
    before = set(await hand.snapshot())
    run = await five(hand)
    await keeper().sweep()
    await due(store, run)
    assert await keeper(retention=0.0).sweep() == {"packed": 0, "removed": 1}
    left = {name.decode().removeprefix(store.keys.tag) for name in set(await hand.snapshot()) - before}
    assert left == {f":t:t{run[1:]}", ":gone", ":w:w:v:1", ":active", ":reactivate", ":triggers"}
    with pytest.raises(NotFound):
        await store.runs.get(run)
    assert (await store.triggers.get(f"t{run[1:]}"))["run"] == run


async def test_a_workflow_says_how_long_its_runs_are_kept(store: Store, hand, keeper):
    await hand.publish({"name": "w", "retention": "1ms", "nodes": {"a": {"type": "step"}}})
    run = await hand.accept("w")
    await store.triggers.start_run(await hand.queued(), 1)
    await hand.decide()
    await hand.finish(run, "a")
    await hand.decide()
    assert await keeper(retention=MONTH).sweep() == {"packed": 0, "removed": 1}


async def test_a_large_run_is_removed_in_parts_and_another_worker_goes_on(
    store: Store, hand, keeper, monkeypatch
):
    run = await mapped(store, hand)
    monkeypatch.setattr(retention_module, "PART", 5)
    parts = 0
    whole = Batcher.script

    def dies_after_two_parts(self: Batcher, script: Any, keys: Any, args: Any) -> Any:
        nonlocal parts
        if script.name == "remove_part":
            parts += 1
            if parts == 3:
                raise EngineFault("the worker is killed here")
        return whole(self, script, keys, args)

    monkeypatch.setattr(Batcher, "script", dies_after_two_parts)
    assert await keeper(retention=0.0).sweep() == {"packed": 0, "removed": 0}
    with pytest.raises(NotFound):
        await store.runs.get(run)
    assert await keys_of(store, run) == {":x", ":n:m", ":l:m", ":n:z", ":n:m:10", ":n:m:11"}
    await due(store, run)
    assert await keeper(retention=0.0).sweep() == {"packed": 0, "removed": 1}
    assert parts == 4
    assert await keys_of(store, run) == set()


async def test_its_data_and_its_logs_go_with_it(
    store: Store, hand, keeper, settings: Settings, tmp_path: Path
):
    run, other = await five(hand), "r" + "0" * 24
    for root in (tmp_path / "data", settings.log_dir):
        for name in (run, other):
            (root / name / "a" / "1").mkdir(parents=True)
            (root / name / "a" / "1" / "part-0.ndjson").write_text("{}")
    (tmp_path / "data" / run / "link").symlink_to(tmp_path / "data" / other)
    await keeper(retention=0.0).sweep()
    for root in (tmp_path / "data", settings.log_dir):
        assert [path.name for path in root.iterdir()] == [other]
        assert (root / other / "a" / "1" / "part-0.ndjson").exists()


async def test_another_machine_removes_its_own_logs(store: Store, hand, keeper, tmp_path: Path):
    run = await five(hand)
    elsewhere = keeper(log_dir=tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / run).mkdir(parents=True)
    await keeper(retention=0.0).sweep()
    assert await elsewhere.sweep_logs() == 1
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert await elsewhere.sweep_logs() == 0


async def test_a_run_that_another_one_refers_to_is_kept_as_long(store: Store, hand, keeper):
    run = await five(hand)
    again = await five(hand)
    assert await store.retention.pin(run, by=again)
    short = keeper(retention=0.0)
    await store.retention.postpone(again, await store.workers.now() + 1_000_000)
    assert await short.sweep() == {"packed": 0, "removed": 0}
    for each in (again, run):
        await due(store, each)
        assert await short.sweep() == {"packed": 0, "removed": 1}
    assert await keys_of(store, run) == set()


async def test_a_pin_of_a_run_that_never_came_to_be_ends_by_itself(store: Store, hand, keeper):
    run = await five(hand)
    assert await store.retention.pin(run, by="r" + "1" * 24)
    assert await keeper(retention=0.0).sweep() == {"packed": 0, "removed": 1}
    assert await store.retention.pin(run, by="r" + "1" * 24) is False


async def test_a_pin_made_while_a_run_is_being_archived_saves_it(store: Store, hand, keeper):
    run = await five(hand)
    pins, held = await store.retention.pins(run)
    assert (pins, held) == (0, False)
    await store.retention.pin(run, by="r" + "1" * 24)
    record = await store.retention.finished(run)
    assert record is not None
    before = await hand.snapshot()
    assert await store.retention.begin_removal(record, 0, pins) is False
    assert await hand.snapshot() == before


async def test_a_run_that_holds_a_slot_is_kept_until_its_attempt_is_over(store: Store, hand, keeper):
    run = await hand.begin({"a": {"type": "step"}, "b": {"type": "step"}})
    await hand.started(run, "b")
    await end_by_fault(store, hand, run)
    assert await keeper(retention=0.0).sweep() == {"packed": 0, "removed": 0}
    await store.workers.exited(run, Signal(SignalKind.EXIT, "b", attempt=1, launch=0, code=-9))
    await hand.decide()
    await due(store, run)
    assert await keeper(retention=0.0).sweep() == {"packed": 0, "removed": 1}
    assert await store.workers.holders() == {}


async def test_runs_of_a_release_that_kept_no_time_are_found(store: Store, hand, keeper):
    run, live = await five(hand), await hand.begin({"a": {"type": "step"}})
    await store.retention.forget(run)
    assert await keeper().sweep() == {"packed": 1, "removed": 0}
    assert await keys_of(store, run) == {":p"}
    assert "" in await keys_of(store, live)


# the archive -------------------------------------------------------------------------------------------------------


@pytest.fixture
def archiving(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"archive_uri": f"file:{tmp_path}/archive", "retention": 0.0})


@pytest.mark.parametrize("large", [False, True])
async def test_an_archived_run_answers_as_before(archiving: Settings, hand, large: bool):
    store = await Store.open(archiving)
    try:
        run = await (mapped(store, hand) if large else five(hand))
        before = await answers(store, run)
        assert await Retention(store, archiving).sweep() == {"packed": 0, "removed": 1}
        after = await answers(store, run)
        assert [each["code"] for each in store.why.of_archived(await store.runs.get(run))] == [
            "failed" if large else "succeeded"
        ]
    finally:
        await store.close()
    assert after["run"].pop("archived").endswith(f"/{run}.ndjson.gz")
    assert (before.pop("list"), after.pop("list")) == ([before["run"]], [])
    for name in before:
        assert after[name] == before[name], name
    assert after.keys() == before.keys()


async def test_nothing_is_removed_while_the_archive_cannot_be_written(
    archiving: Settings, hand, tmp_path: Path
):
    (tmp_path / "archive").write_text("this is no directory")
    store = await Store.open(archiving)
    try:
        run = await five(hand)
        assert await Retention(store, archiving).sweep() == {"packed": 0, "removed": 0}
        assert (await store.runs.get(run))["status"] == "succeeded"
        assert await store.retention.due(await store.workers.now(), 10) == [], "it is tried again later"
    finally:
        await store.close()


async def test_a_cursor_of_before_the_archive_is_refused_there(archiving: Settings, hand):
    store = await Store.open(archiving)
    run = await five(hand)
    await Retention(store, archiving).sweep()
    with pytest.raises(InvalidInput, match="not valid"):
        await store.runs.records(run, "a", 10, "12.3")
    await store.close()


async def test_what_is_read_back_must_be_what_was_archived(archiving: Settings, hand, monkeypatch):
    store = await Store.open(archiving)
    assert store.archive is not None

    async def other(self: Any, run: str) -> bytes:
        return b"another digest"

    monkeypatch.setattr(type(store.archive), "_digest", other)

    async def lines():
        yield {"kind": "run"}

    with pytest.raises(Unavailable, match="read back"):
        await store.archive.write("r" + "0" * 24, lines())
    await store.close()


async def test_an_archived_history_is_lines_of_json_that_say_where_they_end(
    archiving: Settings, hand, tmp_path: Path
):
    import gzip

    store = await Store.open(archiving)
    run = await five(hand)
    await Retention(store, archiving).sweep()
    await store.close()
    (path,) = (tmp_path / "archive").rglob("*.ndjson.gz")
    assert path.name == f"{run}.ndjson.gz"
    lines = [orjson.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert lines[0]["run"]["id"] == run
    assert lines[-1] == {"kind": "end", "lines": len(lines) - 1}
    assert {line["kind"] for line in lines} == {"run", "node", "event", "end"}


async def test_a_run_whose_data_is_about_to_go_takes_no_further_pin(store: Store, hand, keeper):
    """Else someone could be given metadata that names what is being removed."""
    run = await five(hand)
    assert await store.retention.close(run, 0) == 1
    assert await store.retention.pin(run, by="r" + "1" * 24) is False
    assert await store.retention.pins(run) == (1, False)
    assert await keeper(retention=0.0).sweep() == {"packed": 0, "removed": 1}


def users(count: int) -> list[str]:
    """Ids of runs, made long ago."""
    return [f"r{number:024x}" for number in range(count)]


async def test_pins_of_runs_that_are_gone_are_taken_out_page_by_page(store: Store, hand, monkeypatch):
    run, other = await five(hand), await five(hand, name="w2")
    monkeypatch.setattr(retention_module, "PINS", 50)
    for user in users(700):
        await store.retention.pin(run, by=user)
    assert await store.retention.pins(run) == (0, False)
    assert await store.batcher.call("EXISTS", store.keys.pins(run)) == 0
    await store.retention.pin(run, by=other)
    assert await store.retention.pins(run) == (1, True)


async def test_dead_pins_go_while_living_ones_hold_the_run(store: Store, hand, monkeypatch):
    """Else those of a run that the cache hands out for years would grow with every run that used it."""
    run, other = await five(hand), await five(hand, name="w2")
    monkeypatch.setattr(retention_module, "PINS", 50)
    for user in [*users(300), other]:
        await store.retention.pin(run, by=user)
    assert await store.retention.pins(run) == (1, True)


async def test_a_run_with_many_pins_is_not_read_whole(store: Store, hand, monkeypatch):
    """A few of those that use it say that it is needed."""
    run, living = await five(hand), users(700)
    for user in living:
        await store.retention.pin(run, by=user)
        await store.batcher.call("SET", store.keys.packed(user), "x")
    monkeypatch.setattr(retention_module, "PINS", 50)
    whole, looked = Batcher.script, list[int]()

    def counted(self: Batcher, script: Any, keys: Any, args: Any) -> Any:
        looked.append(len(args) // 2)
        return whole(self, script, keys, args)

    with monkeypatch.context() as patch:
        patch.setattr(Batcher, "script", counted)
        assert await store.retention.pins(run) == (700, True)
    assert looked == [50]
    await store.batcher.call("DEL", *(store.keys.packed(user) for user in living))


async def test_a_pin_that_was_taken_out_counts_again_when_it_is_made_again(store: Store, hand):
    """A worker that takes up a retry pins once more: the removal that looked before is put off, and what is kept is there."""
    run, (by,) = await five(hand), users(1)
    assert await store.retention.pin(run, by)
    pins, held = await store.retention.pins(run)
    assert held is False, "neither its run nor its receipt is there"
    assert await store.retention.pin(run, by), "its worker pins it again, and copies what it keeps"
    assert await store.retention.close(run, pins) is None


async def test_a_pin_holds_a_run_until_its_trigger_can_be_there(store: Store, hand, keeper):
    """A retry is pinned first and accepted then: a removal between both is put off."""
    run, (_, by) = await five(hand), new_trigger_ids()
    assert await store.retention.pin(run, by)
    assert await store.retention.pins(run) == (1, True)
    assert await keeper(retention=0.0).sweep() == {"packed": 0, "removed": 0}


async def test_a_run_that_was_pinned_meanwhile_is_not_closed(store: Store, hand):
    run = await five(hand)
    await store.retention.pin(run, by="r" + "1" * 24)
    assert await store.retention.close(run, 0) is None
    assert await store.retention.pin(run, by="r" + "2" * 24)
