"""noop: does nothing, for as long and as badly as its config says. For trying out the shape of a workflow."""

from __future__ import annotations

import time
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from headrace import Context, Fatal, Node, Results, Retry

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LOOK: Final = 0.05
"""Seconds between looks whether the run is being cancelled."""


class Broken(Retry):
    """The attempt fails as the config says; another one may succeed."""


class Hopeless(Fatal):
    """The attempt fails as the config says, and no other will succeed."""

    code = "Broken"


class Noop(Node):
    """Does nothing; its metadata is its configuration"""

    type = "noop"
    title = "Do nothing"
    icon = "circle-dashed"
    category = "Trial"

    class Config(BaseModel):
        model_config = ConfigDict(extra="allow")

        takes: str = Field(
            "0s",
            title="Takes",
            description="How long execute takes: 200ms, 90s, 10m",
            pattern=r"^[0-9]{1,12}(ms|s|m|h|d)$",
        )
        fail: bool = Field(False, title="Fail", description="Every attempt fails")
        fail_attempts: int = Field(
            0, title="Failing attempts", description="So many attempts fail, and the next succeeds", ge=0
        )
        fatal: bool = Field(False, title="Fail for good", description="The attempt fails, and is not retried")

    class Metadata(BaseModel):
        model_config = ConfigDict(extra="allow")

    def execute(self, ctx: Context, record: Any) -> None:
        """Let the time pass, then fail where the config says so."""
        ends = time.monotonic() + _seconds(ctx.config.takes)
        while (left := ends - time.monotonic()) > 0 and not ctx.cancelled:
            time.sleep(min(left, _LOOK))
        if ctx.config.fatal:
            raise Hopeless("it failed as its config says")
        if ctx.config.fail or ctx.attempt <= ctx.config.fail_attempts:
            raise Broken("it failed as its config says")

    def output(self, ctx: Context, results: Results) -> Metadata:
        """The configuration as it was written."""
        return self.Metadata(**ctx.config.model_dump(exclude_unset=True))


def _seconds(duration: str) -> float:
    unit = duration.lstrip("0123456789")
    return int(duration.removesuffix(unit)) * _UNITS[unit]


if __name__ == "__main__":
    Noop.main()
