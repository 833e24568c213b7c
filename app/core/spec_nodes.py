"""The nodes of a workflow document: what a node is, and the fields every node has."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from app.core.durations import parse_duration, parse_instant
from app.core.spec_fields import (
    Condition,
    Duration,
    Image,
    Maybe,
    NodeName,
    Object,
    Part,
    PoolName,
    SecretName,
    Share,
    ShortText,
    Text,
    TypeRef,
    Url,
    WorkflowName,
)

KINDS = ("type", "image", "service", "workflow", "approval", "wait")
"""A node has exactly one of these fields."""


def _tag(value: Any) -> str:
    return "object" if isinstance(value, dict) or not isinstance(value, str) else "name"


class Retry(Part):
    """How failed attempts are repeated; a field left out has the workflow's default."""

    max_attempts: Maybe[
        Annotated[int, Field(ge=1, le=1_000, title="Attempts at most", description="Default 3")]
    ] = None
    initial: Maybe[Annotated[Duration, Field(title="First delay", description="Default 1s")]] = None
    factor: Maybe[
        Annotated[
            float,
            Field(ge=1, le=100, strict=False, title="Factor", description="Of each further delay; default 2"),
        ]
    ] = None
    max: Maybe[Annotated[Duration, Field(title="Longest delay", description="Default 100s")]] = None


class Timeout(Part):
    """Time limits of a node; a field left out has the workflow's default."""

    queued: Maybe[
        Annotated[Duration, Field(title="Queued", description="Longest wait for its turn; off by default")]
    ] = None
    start: Maybe[
        Annotated[
            Duration, Field(title="Start", description="From its turn to its first sign of life; default 10m")
        ]
    ] = None
    run: Maybe[
        Annotated[Duration, Field(title="Run", description="Longest run of one attempt; default 1h")]
    ] = None
    heartbeat: Maybe[
        Annotated[Duration, Field(title="Heartbeat", description="Longest silence; default 1m")]
    ] = None


class Defaults(Part):
    """Policies of every node that does not set its own."""

    retry: Maybe[Annotated[Retry, Field(title="Retry")]] = None
    timeout: Maybe[Annotated[Timeout, Field(title="Timeouts")]] = None


class Need(Part):
    """An upstream node, on a condition."""

    node: Annotated[NodeName, Field(title="Node")]
    when: Maybe[
        Annotated[
            Condition, Field(title="Condition", description="CEL; false makes the edge count as skipped")
        ]
    ] = None


class Count(Part):
    """A map over the numbers 0 to count - 1: the item is {index}."""

    model_config = ConfigDict(extra="allow")

    count: (
        Annotated[int, Field(ge=0, le=10_000_000, title="Count")] | Annotated[str, Field(pattern=r"^\$\{\{")]
    )


def _over_tag(value: Any) -> str:
    return "list" if isinstance(value, list) else "object" if isinstance(value, dict) else "name"


class Map(Part):
    """A fan-out: the node runs once for each item of a list."""

    over: Annotated[
        Annotated[Condition, Tag("name"), Field(title="Expression", description="CEL that gives a list")]
        | Annotated[list[Any], Tag("list"), Field(max_length=200_000, title="List")]
        | Annotated[Count, Tag("object")],
        Discriminator(_over_tag),
        Field(title="Over", description="An expression, a list, or {count: N}"),
    ]
    max_parallel: Maybe[
        Annotated[
            int, Field(ge=1, le=1_000_000, title="At once", description="Items that run at the same time")
        ]
    ] = None
    tolerate: Maybe[
        Annotated[Share, Field(title="Tolerate", description="The share of items that may fail, 0 to 1")]
    ] = None


class Pool(Part):
    """A pool and how many of its slots the node takes."""

    name: Annotated[PoolName, Field(title="Name")]
    slots: Maybe[Annotated[int, Field(ge=1, le=1_000_000, title="Slots")]] = None


class Service(Part):
    """An existing service as a node: called over HTTP, waited for, and only its metadata comes back."""

    url: Annotated[Url, Field(title="URL", description="Expressions may stand in its path and query")]
    method: Maybe[Annotated[Literal["POST", "PUT", "PATCH", "GET", "DELETE"], Field(title="Method")]] = None
    secret: Maybe[
        Annotated[
            SecretName,
            Field(title="Secret", description="The name of a secret, sent as Authorization: Bearer"),
        ]
    ] = None


class ChildWorkflow(Part):
    """Another workflow as a node: a child run."""

    name: Annotated[WorkflowName, Field(title="Workflow")]
    version: Maybe[Annotated[int, Field(ge=1, title="Version", description="The newest if left out")]] = None
    params: Maybe[Annotated[Object, Field(title="Params")]] = None


class Approval(Part):
    """A person decides."""

    message: Annotated[
        Text, Field(title="Message", description="What the person is asked; may hold expressions")
    ]
    timeout: Maybe[Annotated[Duration, Field(title="Timeout", description="Rejected after this time")]] = None


class Wait(Part):
    """Time passes: for a duration or until an instant. Holds no slot."""

    duration: Maybe[
        Annotated[
            Annotated[str, Field(min_length=1, max_length=2_100)] | Annotated[int, Field(ge=0, le=0)],
            Field(title="Duration", description="10m, 6h, 0, or an expression that gives one"),
        ]
    ] = None
    until: Maybe[
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=2_100,
                title="Until",
                description="An RFC 3339 instant, or an expression",
            ),
        ]
    ] = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Wait:
        if (self.duration is None) == (self.until is None):
            raise PydanticCustomError("field", "a wait has exactly one of duration and until")
        parse = parse_instant if self.duration is None else parse_duration
        written = self.until if self.duration is None else self.duration
        if "${{" not in str(written):
            try:
                parse(written)
            except ValueError as error:
                raise PydanticCustomError("field", "{complaint}", {"complaint": str(error)}) from None
        return self


class Cache(Part):
    """Reuse the metadata of a finished node with the same key."""

    key: Annotated[ShortText, Field(title="Key", description="May hold expressions")]
    ttl: Annotated[Duration, Field(title="Kept for")]


class Node(Part):
    """One node: exactly one of type, image, service, workflow, approval, wait, and the fields of every node."""

    type: Maybe[
        Annotated[
            TypeRef, Field(title="Node type", description="An entry of the catalog: name or name@version")
        ]
    ] = None
    image: Maybe[Annotated[Image, Field(title="Image", description="Any image the operator allows")]] = None
    service: Maybe[Annotated[Service, Field(title="Service")]] = None
    workflow: Maybe[
        Annotated[
            Annotated[WorkflowName, Tag("name")] | Annotated[ChildWorkflow, Tag("object")],
            Discriminator(_tag),
            Field(title="Workflow"),
        ]
    ] = None
    approval: Maybe[Annotated[Approval, Field(title="Approval")]] = None
    wait: Maybe[Annotated[Wait, Field(title="Wait")]] = None
    needs: Maybe[
        Annotated[
            list[
                Annotated[
                    Annotated[NodeName, Tag("name")] | Annotated[Need, Tag("object")], Discriminator(_tag)
                ]
            ],
            Field(title="Needs", description="The nodes before it"),
        ]
    ] = None
    when: Maybe[Annotated[Condition, Field(title="Condition", description="CEL; false skips the node")]] = (
        None
    )
    join: Maybe[
        Annotated[
            Literal["all_succeeded", "all_done", "any_succeeded", "none_failed"],
            Field(
                title="Join",
                description="When it runs, by what became of the nodes before it; default all_succeeded",
            ),
        ]
    ] = None
    map: Maybe[Annotated[Map, Field(title="Fan out")]] = None
    tolerate: Maybe[
        Annotated[
            Share, Field(title="Tolerate", description="The share of its records that may fail, 0 to 1")
        ]
    ] = None
    allow_failure: Maybe[
        Annotated[bool, Field(title="Allow failure", description="Its own failure counts as success")]
    ] = None
    config: Maybe[
        Annotated[Object, Field(title="Configuration", description="By the node type's schema")]
    ] = None
    pools: Maybe[
        Annotated[
            list[
                Annotated[
                    Annotated[PoolName, Tag("name")] | Annotated[Pool, Tag("object")], Discriminator(_tag)
                ]
            ],
            Field(max_length=64, title="Pools", description="Where it needs slots"),
        ]
    ] = None
    priority: Maybe[
        Annotated[int, Field(ge=1, le=5, title="Priority", description="1 is the most urgent; default 3")]
    ] = None
    retry: Maybe[Annotated[Retry, Field(title="Retry")]] = None
    timeout: Maybe[Annotated[Timeout, Field(title="Timeouts")]] = None
    cache: Maybe[Annotated[Cache, Field(title="Cache")]] = None
    executor: Maybe[
        Annotated[
            str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$", title="Executor", description="Where it runs")
        ]
    ] = None
