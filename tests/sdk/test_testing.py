"""The local test runner proves that a node resumes correctly, wherever it dies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace import Context, Node, Results
from headrace.errors import Fatal, StepConflict
from headrace.testing import MemoryEngine, run_node


class Sums(Node):
    """Emits one or two records for each, and keeps a sum."""

    type = "sums"

    def configure(self, ctx: Context) -> Any:
        return ({"n": n} for n in range(100))

    def execute(self, ctx: Context, record: Any) -> Any:
        ctx.state["sum"] = ctx.state.get("sum", 0) + record["n"]
        return [record] * (1 + record["n"] % 2)

    def output(self, ctx: Context, results: Results) -> Any:
        return {
            "uri": results.uri,
            "count": results.count,
            "digest": results.digest,
            "sum": results.state["sum"],
        }

    def finalize(self, ctx: Context) -> None:
        ctx.state["finalized"] = True


class SumsInBatches(Sums):
    batch_size = 7

    def execute_batch(self, ctx: Context, records: list[Any]) -> list[Any]:
        return [written for record in records for written in self.execute(ctx, record)]


class Forgetful(Sums):
    """Keeps its sum where a crash forgets it: what certify must find."""

    def configure(self, ctx: Context) -> Any:
        self.sum = 0
        return super().configure(ctx)

    def execute(self, ctx: Context, record: Any) -> Any:
        self.sum += record["n"]
        return super().execute(ctx, record)

    def output(self, ctx: Context, results: Results) -> Any:
        return {"sum": self.sum}


kills = st.lists(
    st.integers(0, 99) | st.sampled_from(["configure", "execute", "output", "finalize"]), max_size=4
)


@pytest.mark.parametrize("node", [Sums, SumsInBatches])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kill_at=kills, every=st.integers(1, 40))
def test_wherever_it_is_killed_the_result_is_the_same(
    node: type[Node], kill_at: list[Any], every: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = tmp_path_factory.mktemp("data")
    calm = run_node(node, data_dir=data, run_id="calm")
    killed = run_node(node, data_dir=data, run_id="killed", kill_at=kill_at, checkpoint_records=every)
    assert killed.exit_code == 0
    assert killed.metadata | {"uri": ""} == calm.metadata | {"uri": ""}
    assert killed.records == calm.records
    assert killed.digest == calm.digest


def test_a_death_at_a_record_resumes_at_the_last_position(tmp_path: Path) -> None:
    outcome = run_node(Sums, data_dir=tmp_path, kill_at=[55, "execute", "finalize"])
    assert outcome.crashes == 3
    consumed = [position["consumed"] for position in outcome.engine.positions]
    assert consumed[:10] == list(range(10, 101, 10))


def test_a_node_that_does_not_resume_correctly_is_found(tmp_path: Path) -> None:
    assert run_node(Forgetful, data_dir=tmp_path, run_id="a").metadata == {"sum": 4950}
    assert run_node(Forgetful, data_dir=tmp_path, run_id="b", kill_at=55).metadata != {"sum": 4950}


def test_a_wrong_place_to_die_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="kill_at"):
        run_node(Sums, data_dir=tmp_path, kill_at="publish")


def test_the_engine_in_memory_refuses_steps_out_of_order() -> None:
    engine = MemoryEngine()
    engine.start("me")
    with pytest.raises(StepConflict, match="expected configure"):
        engine.checkpoints(1, [{"step": "execute"}])
    with pytest.raises(StepConflict, match="expected configure"):
        engine.checkpoints(1, [{"step": "execute", "seq": 1, "data": {}}])
    engine.checkpoints(1, [{"step": "configure"}, {"step": "execute", "seq": 5, "data": {}}])
    with pytest.raises(StepConflict, match="seq went back"):
        engine.checkpoints(1, [{"step": "execute", "seq": 4, "data": {}}])
    assert not engine.checkpoints(1, [{"step": "configure"}, {"step": "execute", "seq": 5, "data": {}}])
