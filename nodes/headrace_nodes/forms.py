"""What the configurations of the stock nodes share: exact numbers, and models that a form is made from."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

Percent = Annotated[
    Decimal, Field(ge=-100, le=1000), WithJsonSchema({"type": "number", "minimum": -100, "maximum": 1000})
]
"""A change in percent; never below -100: no price gets negative."""
Amount = Annotated[Decimal, Field(ge=0), WithJsonSchema({"type": "number", "minimum": 0})]
"""An amount of money."""
Share = Annotated[Decimal, Field(ge=0, le=1), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})]
"""0 to 1."""


class Form(BaseModel):
    """A configuration: unknown fields are mistakes, and `from` is written as it is read."""

    model_config = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True)


class FromUpstream(Form):
    """The configuration of a node that reads the data of one node before it."""

    source: str = Field(
        "",
        alias="from",
        title="Read from",
        description="The node before this one whose data is read. Empty: the only one that has data.",
    )


class DataMetadata(BaseModel):
    """The metadata of a node whose results are products."""

    uri: str = Field(title="Data", description="URI of the products that this node wrote")
    count: int = Field(title="Products written", ge=0)
    failed: int = Field(title="Records that failed", ge=0)
