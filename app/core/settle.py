"""What a terminal node run means for the nodes below it: edges, joins, conditions (DESIGN section 5, Joins)."""

from __future__ import annotations

from enum import Enum
from typing import Any

from app.core import maps, starting
from app.core.graph import Edge, Join, NodeDef
from app.core.json_values import kind_of
from app.core.round import NotLoaded, Round
from app.core.signals import Signal, SignalKind
from app.core.states import Ending, NodeStatus
from app.core.tasks import split_ref
from app.core.view import JoinCount
from app.errors import ExpressionError


class Verdict(Enum):
    WAIT = "wait"
    RUN = "run"
    SKIP = "skip"
    BLOCK = "block"
    CANCEL = "cancel"


_ENDS = {
    Verdict.SKIP: NodeStatus.SKIPPED,
    Verdict.BLOCK: NodeStatus.BLOCKED,
    Verdict.CANCEL: NodeStatus.CANCELLED,
}


def judge(join: Join, count: JoinCount, total: int) -> Verdict:
    """What a join says once some of its `total` upstream nodes are terminal. `failed` counts blocked and cancelled too."""
    complete = count.succeeded + count.failed + count.skipped >= total
    if join is Join.ANY_SUCCEEDED:
        if count.succeeded:
            return Verdict.RUN
        if not complete:
            return Verdict.WAIT
        return Verdict.BLOCK if count.failed else Verdict.SKIP
    if not complete:
        return Verdict.WAIT
    if join is Join.ALL_DONE:
        return Verdict.RUN
    if count.failed:
        return Verdict.BLOCK
    if count.skipped and join is Join.ALL_SUCCEEDED:
        return Verdict.SKIP
    return Verdict.RUN


def doomed_verdict(count: JoinCount, total: int) -> Verdict:
    """What a join says after a failure that stops the run: cancelled, but in its turn; clean-up comes after what it cleans."""
    return Verdict.CANCEL if count.succeeded + count.failed + count.skipped >= total else Verdict.WAIT


def finish_node(round_: Round, ref: str) -> None:
    """A node run has just become terminal: count it, and tell its map or its children."""
    name, item = split_ref(ref)
    if item is not None:
        parent_ended = maps.item_ended(round_, ref)
        if not parent_ended:
            return
    _count(round_, name)
    settle(round_, name, 0)


def _count(round_: Round, name: str) -> None:
    failed = round_.node(name).status is NodeStatus.FAILED and not round_.graph.node(name).allow_failure
    round_.count_done(name, failed)


def settle(round_: Round, name: str, start: int) -> None:
    """Tell the children of a terminal node from `start` on, and theirs as far as the view and the budget reach."""
    work = [(round_.graph.node(name), start)]
    while work:
        node, first = work.pop()
        for position in range(first, len(node.children)):
            try:
                ended = arrive(round_, node, node.children[position]) if round_.room else None
            except NotLoaded:
                ended = None
            if ended is None:
                round_.defer(Signal(SignalKind.SETTLED, node.name, start=position))
                break
            if ended:
                child = round_.graph.nodes[node.children[position].node]
                _count(round_, child.name)
                work.append((child, 0))


def arrive(round_: Round, node: NodeDef, edge: Edge) -> bool:
    """One upstream of a child is terminal. True when that ends the child too. Raises NotLoaded before any change."""
    child = round_.graph.nodes[edge.node]
    doomed = round_.doomed(child)
    if doomed and round_.run.ending != Ending.FAILURE:
        return False  # the sweep cancels it
    count = JoinCount() if len(child.needs) == 1 else _join(round_, child.name)
    if count.decided:
        return False
    try:
        outcome = "failed" if doomed else _outcome(round_, node, child, edge)
    except ExpressionError as error:
        _decided(round_, child)
        return starting.fail(round_, child.name, error)
    count = JoinCount(count.succeeded, count.failed, count.skipped)
    setattr(count, outcome, getattr(count, outcome) + 1)
    verdict = (
        doomed_verdict(count, len(child.needs)) if doomed else judge(child.join, count, len(child.needs))
    )
    if verdict is Verdict.RUN:
        env = round_.env_of(child)
        _decided(round_, child)
        return start_node(round_, child, env)
    if verdict is Verdict.WAIT:
        round_.view.joins[child.name] = round_.changes.joins[child.name] = count
        return False
    _decided(round_, child)
    round_.change(child.name, _ENDS[verdict], z=round_.now)
    return True


def _join(round_: Round, name: str) -> JoinCount:
    count = round_.view.joins.get(name)
    if count is None:
        if not round_.view.joins_whole:
            raise NotLoaded(name)
        count = JoinCount()
    return count


def _decided(round_: Round, child: NodeDef) -> None:
    """A join decided before all its upstream nodes ended must not be decided again."""
    if len(child.needs) > 1:
        round_.view.joins[child.name] = round_.changes.joins[child.name] = JoinCount(decided=True)


def _outcome(round_: Round, node: NodeDef, child: NodeDef, edge: Edge) -> str:
    """Which count of the join an upstream adds to: succeeded, failed or skipped."""
    status = round_.node(node.name).status
    if edge.when is not None:
        place = f"nodes/{child.name}/needs/{node.name}/when"
        if not _truth(edge.when.evaluate(round_.env(edge.when.reads), place), place):
            return "skipped"
    if status is NodeStatus.SUCCEEDED or (status is NodeStatus.FAILED and node.allow_failure):
        return "succeeded"
    return "skipped" if status is NodeStatus.SKIPPED else "failed"


def _truth(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise ExpressionError(f"{place}: a condition must be true or false, and this is {kind_of(value)}")
    return value


def start_node(round_: Round, node: NodeDef, env: dict[str, Any]) -> bool:
    """The join says run. True when the node is terminal at once (condition false, expression failed, nothing to do)."""
    node = round_.edited(node)
    try:
        place = f"nodes/{node.name}"
        if node.when is not None and not _truth(node.when.evaluate(env, f"{place}/when"), f"{place}/when"):
            round_.change(node.name, NodeStatus.SKIPPED, z=round_.now)
            return True
        if node.map is not None:
            return maps.begin(round_, node, env)
    except ExpressionError as error:
        return starting.fail(round_, node.name, error)
    return starting.start(round_, node.name, node, env)
