"""What goes into the API and comes out of it, as models: for validation, and for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from app.core.concurrency import PRIORITIES
from app.core.podspec import PodSpec, Resources
from app.core.pointers import pointer
from app.core.spec_problems import sentence
from app.core.view import DEFAULT_PRIORITY
from app.errors import InvalidInput, Place

NAME = r"^[a-z][a-z0-9-]{0,62}$"
Name = Annotated[str, StringConstraints(pattern=NAME)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=63)]


class Input(BaseModel):
    """A body. Unknown members are errors; nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True)


M = TypeVar("M", bound=BaseModel)


def read(model: type[M], value: Any) -> M:
    """The value as a model. Raises InvalidInput with the place of everything that is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        fields = [field.alias or name for name, field in model.model_fields.items()]
        raise InvalidInput(places=places(error, fields)) from None


KEY = "[key]"
"""What pydantic adds to the way to a member whose name is wrong."""


def places(error: ValidationError, fields: Collection[str] = ()) -> list[Place]:
    """The places of a validation error of pydantic's. `fields` are those of the body, one of which may have been meant."""
    return [
        Place(
            pointer(*(part for part in each["loc"] if part != KEY)),
            sentence(each, fields if len(each["loc"]) == 1 else ()),
        )
        for each in error.errors(include_url=False, include_input=False)
    ]


class RunRequest(Input):
    """Start a run."""

    params: dict[str, Any] = Field(default_factory=dict)
    version: int | None = Field(None, ge=1, lt=1 << 31)
    priority: int = Field(DEFAULT_PRIORITY, ge=1, le=PRIORITIES, description="1 is the most urgent.")
    labels: dict[Label, Annotated[str, StringConstraints(max_length=255)]] = Field(
        default_factory=dict, max_length=32
    )


class RunAccepted(BaseModel):
    """The run is durably queued."""

    run: str | None
    receipt: str


class Asked(BaseModel):
    """What was asked of a run is on its way; `status` is the run's as it was found."""

    run: str
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]


class RetryRequest(Input):
    """Make a new run of an ended one."""

    from_: Annotated[str, StringConstraints(min_length=1, max_length=63)] = Field(
        "failed",
        alias="from",
        description="failed: what did not succeed, and records that failed; a node: what did not succeed, that one, and"
        " what is below it; all: everything.",
    )


class ForkRequest(Input):
    """Make a new run of an ended one that differs at a node."""

    node: Annotated[str, StringConstraints(min_length=1, max_length=63)]
    config: dict[str, Any] | None = Field(None, description="The node's config in the new run.")
    metadata: Any = Field(None, description="The node's metadata in the new run: it does not run there.")
    version: int | None = Field(None, ge=1, lt=1 << 31, description="Of the workflow; by default the run's.")


class WorkflowPaused(BaseModel):
    """Since when no further run of the workflow begins; null: they begin."""

    workflow: str
    paused: str | None


class ReceiptOf(BaseModel):
    """One receipt of a webhook."""

    receipt: str
    workflow: str
    run: str | None


class Receipts(BaseModel):
    """One receipt per matched workflow."""

    receipts: list[ReceiptOf]


class EventReceiptOf(ReceiptOf):
    """One receipt of an event; `duplicate`: the one that it got when it came first."""

    state: Literal["queued", "duplicate", "dead"]
    trigger: str
    event: str


class Unwanted(BaseModel):
    """A workflow whose trigger has a `when` that was false."""

    workflow: str
    trigger: str
    event: str


class EventReceipts(BaseModel):
    """One receipt per event and matched workflow."""

    receipts: list[EventReceiptOf]
    filtered: list[Unwanted]


class Receipt(BaseModel):
    """What became of a trigger."""

    id: str
    state: Literal["queued", "started", "duplicate", "filtered", "rejected", "dead"]
    source: str
    workflow: str
    run: str | None
    reason: str | None
    created: str


class RedriveRequest(Input):
    """Try a dead trigger again."""

    version: int | None = Field(None, ge=1, lt=1 << 31, description="Of the workflow; by default the newest.")


class Page(BaseModel):
    """One page of a list."""

    items: list[dict[str, Any]]
    next_cursor: str | None = None


class DecisionRequest(Input):
    """What the person who decides about an approval wants to say."""

    comment: Annotated[str, StringConstraints(max_length=2000)] | None = None


class Decided(BaseModel):
    """The decision that counts: {approved, by, at, comment}."""

    run: str
    node: str
    decision: dict[str, Any]


class MetadataPage(BaseModel):
    """One page of the metadata of a map's items; null for an item that has none."""

    items: list[Any]
    next_cursor: str | None = None


class PublishedVersion(BaseModel):
    """The outcome of a publish."""

    name: str
    version: int
    etag: str
    hooks: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])


class HookRequest(Input):
    """Make a hook. Without `params` the body's object becomes the run's params."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")] | None = None
    signature: Literal["standard", "github", "shopify", "none"] = "standard"
    secret: Annotated[str, StringConstraints(min_length=16, max_length=256)] | None = None
    params: dict[str, Any] | None = None


class PoolRequest(Input):
    """Set a pool's slots."""

    slots: int = Field(ge=0, le=1_000_000, description="0: nothing is admitted; what runs goes on.")


class KeyRequest(Input):
    """Make an API key."""

    scopes: list[Literal["read", "trigger", "write", "operate", "approve", "admin"]] = Field(min_length=1)
    prefix: Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9-]{0,62})?$")] = ""
    name: Annotated[str, StringConstraints(max_length=100)] = ""


class KeyCreated(BaseModel):
    """A new key, shown this once."""

    id: str
    key: str
    scopes: list[str]
    prefix: str


class SessionRequest(Input):
    """Sign in to the UI with an API key."""

    key: str = Field(max_length=256)


class NodeTypeRequest(Input):
    """A node type that runs an image."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    title: Annotated[str, StringConstraints(max_length=100)] = ""
    icon: Annotated[str, StringConstraints(max_length=64)] = ""
    category: Annotated[str, StringConstraints(max_length=64)] = ""
    description: Annotated[str, StringConstraints(max_length=2000)] = ""
    config_schema: dict[str, Any] = Field(default_factory=dict)
    metadata_schema: dict[str, Any] = Field(default_factory=dict)
    entrypoint: Annotated[list[str], Field(min_length=1, max_length=64)] | None = None
    resources: Resources = Resources()
    kubernetes: PodSpec = PodSpec()


class ProblemPlace(BaseModel):
    """One thing that is wrong."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[ProblemPlace]
