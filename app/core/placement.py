"""Where a node may run: which executors an installation has, and which images its operator allows.

The same rule is asked at publish, so that a document that could never run is refused with its place, and by the worker
when it submits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from app.core.nodetypes import NodeType
from app.core.pointers import Problems, pointer
from app.core.spec import Workflow
from app.errors import UsageError

PROCESS = "process"
CONTAINER = "container"
KUBERNETES = "kubernetes"
SERVICE = "service"
"""The executor of service nodes; every worker has it, no document names it."""
IMAGE_EXECUTORS = frozenset({CONTAINER, KUBERNETES})
"""Those that run an image."""
EXECUTORS = frozenset({PROCESS, *IMAGE_EXECUTORS})
"""What HEADRACE_EXECUTORS may list and the field `executor` of a node may name."""
ENGINE_KINDS = ("service", "workflow", "approval", "wait")
"""Nodes that the engine itself carries out."""


class Misplaced(NamedTuple):
    """Why a node can run nowhere: the field that says so, and how to mend it."""

    field: str
    detail: str


@dataclass(slots=True, frozen=True)
class Placement:
    """The executors of an installation, the first being the default, and what they can run."""

    executors: tuple[str, ...] = (PROCESS,)
    image_allow: tuple[str, ...] = ()
    """Patterns of the images that a node may name itself; * stands for any text. None given: no image."""
    manifests: Mapping[str, NodeType] = field(default_factory=dict)
    """Node types of files on the server, by "name@version": the only ones that can have a process command."""

    @classmethod
    def parse(cls, executors: str, image_allow: str, manifests: Mapping[str, NodeType]) -> Placement:
        """From the settings, comma separated each. Raises UsageError for executors that do not exist."""
        names = _listed(executors)
        unknown = [name for name in names if name not in EXECUTORS]
        if unknown or not names or len(set(names)) != len(names):
            known = ", ".join(sorted(EXECUTORS))
            raise UsageError(f"HEADRACE_EXECUTORS must list some of {known}, each once; it is '{executors}'.")
        return cls(names, _listed(image_allow), manifests)

    def choose(self, type: str | None, image: str | None, executor: str | None) -> str | Misplaced:
        """The executor of a node that runs a type ("name@version") or an image: the one it names, else the first able.

        A type that is in no file on the server came by the API, and runs an image.
        """
        if image is not None and not self.allows(image):
            return Misplaced("image", f"the image '{image}' is not allowed; the operator allows images by patterns "
                                      f"in HEADRACE_IMAGE_ALLOW, which {self._allowed()}")  # fmt: skip
        if executor is not None and executor not in self.executors:
            have = ", ".join(self.executors)
            return Misplaced(
                "executor", f"there is no executor '{executor}' here; HEADRACE_EXECUTORS has {have}"
            )
        able = self._able(type, image)
        for name in self.executors if executor is None else (executor,):
            if name in able:
                return name
        return self._unable(type, image, executor, able)

    def allows(self, image: str) -> bool:
        return any(fnmatchcase(image, pattern) for pattern in self.image_allow)

    def _allowed(self) -> str:
        return f"has {', '.join(self.image_allow)}" if self.image_allow else "is empty"

    def _able(self, type: str | None, image: str | None) -> frozenset[str]:
        """The executors that could run it, configured or not."""
        manifest = None if type is None else self.manifests.get(type)
        if image is not None or manifest is None:
            return IMAGE_EXECUTORS
        able = frozenset({PROCESS}) if manifest.command else frozenset[str]()
        return able | IMAGE_EXECUTORS if manifest.image else able

    def _unable(
        self, type: str | None, image: str | None, executor: str | None, able: frozenset[str]
    ) -> Misplaced:
        what = "an image" if image is not None else f"the node type '{type}'"
        if executor is not None:
            needs = "a process command" if executor == PROCESS else "an image"
            return Misplaced("executor", f"'{executor}' cannot run {what}: it needs {needs}")
        if image is None and PROCESS in self.executors:
            what += ", for which no manifest on the server gives a process command (headrace node register)"
        return Misplaced(
            "type" if image is None else "image",
            f"no executor of this installation runs {what}: HEADRACE_EXECUTORS has {', '.join(self.executors)}, "
            f"and this needs {' or '.join(sorted(able))}",
        )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part for part in (piece.strip() for piece in text.split(",")) if part)


def check_placement(workflow: Workflow, placement: Placement) -> None:
    """Raises InvalidInput with the place of each node of a checked, pinned workflow that could run nowhere."""
    problems = Problems()
    for name, node in workflow.nodes.items():
        kind = next((kind for kind in ENGINE_KINDS if kind in node.model_fields_set), None)
        if kind is not None:
            if node.executor is not None:
                detail = f"the engine itself carries out '{kind}'; leave the executor out"
                problems.add(pointer("nodes", name, "executor"), detail)
        elif isinstance(found := placement.choose(node.type, node.image, node.executor), Misplaced):
            problems.add(pointer("nodes", name, found.field), found.detail)
        if problems.full:
            break
    problems.raise_if_any("the workflow cannot run on this installation")
