"""A node type: one entry of the catalog, what a node of that type runs and how it is configured."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from app.core.podspec import PodSpec, Resources

NAME_PATTERN = r"^[a-z][a-z0-9-]{0,62}$"
_REF = re.compile(r"([a-z][a-z0-9-]{0,62})(?:@([1-9][0-9]{0,8}))?")

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


class NodeType(BaseModel):
    """A manifest of a node type; immutable, a change is a new version.

    `image` is the Docker image of the Job, `command` the process of the local executor (only from files on the
    server); `{python}` in it stands for the interpreter of the worker. At least one of both is there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    version: Annotated[int, Field(ge=1, le=999_999_999, strict=True)] = 1
    title: Annotated[str, Field(max_length=200)] = ""
    icon: Annotated[str, Field(max_length=64)] = ""
    category: Annotated[str, Field(max_length=64)] = ""
    description: Annotated[str, Field(max_length=10_000)] = ""
    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    command: Annotated[list[str], Field(min_length=1)] | None = None
    entrypoint: Annotated[list[str], Field(min_length=1)] | None = None
    """The command line inside the image, where it is not the image's own."""
    config_schema: dict[str, Any] = Field(default_factory=dict)
    """JSON Schema 2020-12 of the node's `config`: validated at publish, drawn as a form by the editor."""
    metadata_schema: dict[str, Any] = Field(default_factory=dict)
    """JSON Schema 2020-12 of the metadata its output step gives."""
    resources: dict[str, Any] = Field(default_factory=dict)
    """As podspec.Resources; kept as it was written."""
    kubernetes: dict[str, Any] = Field(default_factory=dict)
    """As podspec.PodSpec: what the pods of this type may have beyond the image."""

    @field_validator("resources")
    @classmethod
    def _amounts(cls, value: dict[str, Any]) -> dict[str, Any]:
        Resources(**value)
        return value

    @field_validator("kubernetes")
    @classmethod
    def _pod(cls, value: dict[str, Any]) -> dict[str, Any]:
        PodSpec(**value)
        return value

    @model_validator(mode="after")
    def _runs_something(self) -> NodeType:
        if self.image is None and self.command is None:
            raise ValueError("a node type needs an image or a command")
        return self

    @property
    def ref(self) -> str:
        """The pinned reference, `name@version`."""
        return f"{self.name}@{self.version}"


def parse_ref(ref: str) -> tuple[str, int | None] | None:
    """`name@2` -> (name, 2), `name` -> (name, None), anything else -> None."""
    match = _REF.fullmatch(ref)
    if match is None:
        return None
    return match[1], int(match[2]) if match[2] else None
