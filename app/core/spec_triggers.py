"""The triggers of a workflow document: webhook, schedule, event, run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.core.spec_fields import (
    Condition,
    Duration,
    Maybe,
    Object,
    Part,
    ShortText,
    TriggerName,
    WorkflowName,
)

TRIGGERS = ("webhook", "schedule", "event", "run")
"""A trigger has exactly one of these fields."""
_PARAMS = Field(title="Params", description="The run's params; expressions read the event")

Params = Annotated[Object, _PARAMS]
Named = Annotated[TriggerName, Field(title="Name")]


class Webhook(Part):
    """An HTTP call to the hook's own URL."""

    name: Named
    signature: Maybe[
        Annotated[
            Literal["standard", "github", "shopify", "none"],
            Field(title="Signature", description="How the sender signs; default standard"),
        ]
    ] = None
    params: Maybe[Params] = None


class Schedule(Part):
    """Points in time."""

    name: Named
    cron: Annotated[
        str, Field(pattern=r"^\S+( \S+){4}$", max_length=256, title="Cron", examples=["0 2 * * *"])
    ]
    time_zone: Maybe[
        Annotated[
            str,
            Field(pattern=r"^[A-Za-z][A-Za-z0-9_+/-]{0,63}$", title="Time zone", description="Default UTC"),
        ]
    ] = None
    catch_up: Maybe[
        Annotated[
            Duration, Field(title="Catch up", description="How late a missed tick may still start a run")
        ]
    ] = None
    params: Maybe[Params] = None


class EventTrigger(Part):
    """A CloudEvent."""

    name: Named
    type: Annotated[ShortText, Field(title="Event type", description="`*` at the end matches any rest")]
    when: Maybe[Annotated[Condition, Field(title="Condition", description="CEL over event")]] = None
    params: Maybe[Params] = None


class RunTrigger(Part):
    """The end of another workflow's run."""

    name: Named
    workflow: Annotated[WorkflowName, Field(title="Workflow")]
    status: Maybe[
        Annotated[
            Literal["succeeded", "failed", "cancelled"],
            Field(title="Status", description="Default succeeded"),
        ]
    ] = None
    params: Maybe[Params] = None


class Trigger(Part):
    """What starts a run: exactly one of webhook, schedule, event, run."""

    webhook: Maybe[Annotated[Webhook, Field(title="Webhook")]] = None
    schedule: Maybe[Annotated[Schedule, Field(title="Schedule")]] = None
    event: Maybe[Annotated[EventTrigger, Field(title="Event")]] = None
    run: Maybe[Annotated[RunTrigger, Field(title="After a run")]] = None

    @property
    def kind(self) -> str:
        """webhook, schedule, event or run."""
        return next(kind for kind in TRIGGERS if getattr(self, kind) is not None)

    @property
    def name(self) -> str:
        """The trigger's name, unique in its workflow."""
        return getattr(self, self.kind).name
