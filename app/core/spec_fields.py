"""The field types a workflow document is made of: names, durations, shares, text, and fields that may be absent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError

from app.core.cel_source import RESERVED
from app.core.durations import PATTERN, parse_duration
from app.core.nodetypes import NAME_PATTERN

NODE_NAME_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"
TYPE_PATTERN = r"^[a-z][a-z0-9-]{0,62}(@[1-9][0-9]{0,8})?$"
URL_PATTERN = r"^https?://[^\s/?#{}$\\@]+([/?#][^\r\n\t]*)?$"


class Part(BaseModel):
    """Base of every part of a document: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _NotNull:
    """The field may be left out, but not be null; neither validation nor the JSON Schema knows null."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        return schema["schema"] if schema["type"] == "nullable" else schema


T = TypeVar("T")
Maybe = Annotated[T | None, _NotNull()]
"""A field that may be absent; then its value is None."""


def _checked(check: Callable[[Any], str | None]) -> AfterValidator:
    """A validator that keeps the value and turns a complaint into an error."""

    def validate(value: Any) -> Any:
        if complaint := check(value):
            raise PydanticCustomError("field", "{complaint}", {"complaint": complaint})
        return value

    return AfterValidator(validate)


def _duration_complaint(value: object) -> str | None:
    try:
        return None if parse_duration(value) else "this duration must be longer than 0"
    except ValueError as error:
        return str(error)


def _node_name_complaint(value: str) -> str | None:
    return f"'{value}' is a reserved word of CEL; choose another name" if value in RESERVED else None


def _url_complaint(value: str) -> str | None:
    authority = value.split("://", 1)[-1].split("/", 1)[0]
    return (
        "an expression cannot stand in a URL's scheme or host"
        if "{" in authority or "$" in authority
        else None
    )


Text = Annotated[str, Field(max_length=10_000)]
ShortText = Annotated[str, Field(min_length=1, max_length=256)]
WorkflowName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
TriggerName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
NodeName = Annotated[str, StringConstraints(pattern=NODE_NAME_PATTERN), _checked(_node_name_complaint)]
TypeRef = Annotated[str, StringConstraints(pattern=TYPE_PATTERN)]
PoolName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,62}$")]
SecretName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
Image = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}$")]
Duration = Annotated[
    str,
    _checked(_duration_complaint),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "examples": ["200ms", "90s", "10m", "6h", "30d"]}),
]
Share = Annotated[float, Field(ge=0, le=1)]
Condition = Annotated[str, Field(min_length=1, max_length=2_048)]
"""Bare CEL that gives true or false."""
Url = Annotated[
    str, Field(max_length=2_048), _checked(_url_complaint), StringConstraints(pattern=URL_PATTERN)
]
Object = dict[str, Any]
