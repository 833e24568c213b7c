"""From an event to the params of a run: what every kind of trigger does with its template."""

from __future__ import annotations

from typing import Any

from app.core.expressions import Template
from app.core.schemas import apply_params
from app.errors import ExpressionError, InvalidInput


def fired_params(
    schema: dict[str, Any] | None, template: Any, event: Any
) -> tuple[dict[str, Any], str | None]:
    """The run's params by the template of a trigger, and why there is none: then the trigger is dead."""
    try:
        return apply_params(schema, Template(template or {}).render({"event": event})), None
    except (ExpressionError, InvalidInput) as error:
        return {}, why_dead(error)


def why_dead(error: ExpressionError | InvalidInput) -> str:
    """What the receipt says of params that could not be made, or do not fit."""
    if isinstance(error, ExpressionError):
        return error.message
    details = "; ".join(f"{place.pointer}: {place.detail}" for place in error.places[:8])
    return f"{error.message} {details}".strip()
