"""WfFormat: the JSON in which WfCommons publishes runs of real scientific workflows (https://wfcommons.org/format).

Read are the schema versions 1.4 to 1.6: tasks with their parents in `workflow.specification`, their runtimes in
`workflow.execution`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import orjson


@dataclass(slots=True, frozen=True)
class Shape:
    """A graph with the runtime of each node, in seconds as they were measured; every node stands behind those it needs."""

    name: str
    runtimes: Mapping[str, float]
    needs: Mapping[str, list[str]]

    @property
    def width(self) -> int:
        """Nodes on the fullest level."""
        level: dict[str, int] = {}
        for node, parents in self.needs.items():
            level[node] = 1 + max((level[parent] for parent in parents), default=0)
        return max(list(level.values()).count(each) for each in set(level.values()))


def read(path: Path) -> Shape:
    """The shape of a WfFormat file; its tasks become t00000, t00001, ... Raises ValueError for anything else."""
    try:
        workflow: dict[str, Any] = orjson.loads(path.read_bytes())["workflow"]
        tasks: list[dict[str, Any]] = workflow["specification"]["tasks"]
        runtimes = {task["id"]: float(task["runtimeInSeconds"]) for task in workflow["execution"]["tasks"]}
        order = list(
            TopologicalSorter({task["id"]: task.get("parents", []) for task in tasks}).static_order()
        )
        parents = {task["id"]: task.get("parents", []) for task in tasks}
        names = {task: f"t{number:05}" for number, task in enumerate(order)}
        needs = {names[task]: [names[parent] for parent in parents[task]] for task in order}
        return Shape(path.stem, {names[task]: runtimes[task] for task in order}, needs)
    except (KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise ValueError(f"{path} is no WfFormat of the versions 1.4 to 1.6: {error!r}") from None
