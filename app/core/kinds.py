"""What a document says of nodes that the engine carries out itself, compiled: child runs, approvals; and of caches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.core.cel_values import text_value
from app.core.durations import parse_duration
from app.core.expressions import Env, Template

MAX_MESSAGE = 10_000
"""Characters of an approval's message once its expressions are evaluated."""


@dataclass(slots=True, frozen=True)
class ChildDef:
    """`workflow`: a child run."""

    workflow: str
    version: int | None
    """None: the newest when the child run starts."""
    params: Template
    place: str
    """Where its params stand below the node."""
    limit_ms: int | None
    """How long an attempt waits for its child run; None: as long as it takes."""

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> ChildDef:
        """From a node of a checked document. Its params are `workflow.params`, or else its `config`."""
        spec = node["workflow"]
        fields: Mapping[str, Any] = {"name": spec} if isinstance(spec, str) else spec
        spelled = "params" in fields
        params = fields["params"] if spelled else node.get("config", {})
        limit = node.get("timeout", {}).get("run")
        return cls(fields["name"], fields.get("version"), Template(params),
                   "workflow/params" if spelled else "config", parse_duration(limit) if limit else None)  # fmt: skip


@dataclass(slots=True, frozen=True)
class ApprovalDef:
    """`approval`: a person decides."""

    message: Template
    timeout_ms: int | None

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> ApprovalDef:
        timeout = spec.get("timeout")
        return cls(Template(spec["message"]), parse_duration(timeout) if timeout else None)

    def text(self, env: Env, place: str) -> str:
        """The message, whatever its expressions give, as text. Raises ExpressionError."""
        return text_value(self.message.render(env, f"{place}/approval/message"))[:MAX_MESSAGE]


@dataclass(slots=True, frozen=True)
class CacheDef:
    """`cache`: the metadata of a finished node run is used again."""

    key: Template
    ttl_ms: int

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> CacheDef:
        return cls(Template(spec["key"]), parse_duration(spec["ttl"]))

    def text(self, env: Env, place: str) -> str:
        """The key as text. Raises ExpressionError."""
        return text_value(self.key.render(env, f"{place}/cache/key"))
