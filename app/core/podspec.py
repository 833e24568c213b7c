"""What an operator lets the pods of a node type have, beyond the image: written by hand into node types and settings.

Nothing else reaches a pod. There is no field for a path of the machine, for privilege, for a service account, for another
security context (fault row 35).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

_DNS = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]{0,255}$"
OURS = ("headrace.dev/", "app.kubernetes.io/", "batch.kubernetes.io/", "job-name", "controller-uid")
"""Labels that only the engine sets."""

DnsName = Annotated[str, StringConstraints(pattern=_DNS)]
Quantity = Annotated[
    str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$", max_length=32)
]
"""As Kubernetes writes amounts: 250m, 1, 256Mi."""
_UNITS = {"m": Decimal("0.001"), "": Decimal(1), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9),
          "T": Decimal(10**12), "P": Decimal(10**15), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30),
          "Ti": Decimal(2**40), "Pi": Decimal(2**50)}  # fmt: skip


def quantity(text: str) -> Decimal:
    """An amount as Kubernetes writes it: 250m, 1.5, 256Mi."""
    number = text.rstrip("mkMGTPi")
    return Decimal(number) * _UNITS[text[len(number) :]]


class PodPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Resources(PodPart):
    """What the container asks for and may use at most."""

    requests: dict[str, Quantity] = Field(default_factory=dict)
    limits: dict[str, Quantity] = Field(default_factory=dict)


class Toleration(PodPart):
    key: Annotated[str, StringConstraints(max_length=317)] = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: Annotated[str, StringConstraints(max_length=63)] = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute", ""] = ""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None


class Volume(PodPart):
    """A directory of the pod, from exactly one source."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    mount_path: Annotated[str, StringConstraints(pattern=r"^/[^:]{1,1023}$")]
    read_only: bool = False
    claim: DnsName | None = None
    """A PersistentVolumeClaim of the jobs' namespace."""
    config_map: DnsName | None = None
    secret: DnsName | None = None
    empty_dir: Quantity | None = None
    """Scratch space of at most this size."""

    @model_validator(mode="after")
    def _one_source(self) -> Volume:
        given = [source for source in (self.claim, self.config_map, self.secret, self.empty_dir) if source]
        if len(given) != 1:
            raise ValueError("a volume has exactly one of claim, config_map, secret, empty_dir")
        if self.name == "tmp" or self.mount_path.rstrip("/") in ("/tmp", "/dev"):  # noqa: S108
            raise ValueError("the engine itself mounts /tmp, and /dev is the container's")
        return self


class SecretKey(PodPart):
    """One key of a Secret of the jobs' namespace."""

    secret: DnsName
    key: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]{1,253}$")]


class PodSpec(PodPart):
    """Scheduling, volumes and secrets of the pods of a node type."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[Toleration] = Field(default_factory=list)
    volumes: list[Volume] = Field(default_factory=list)
    secrets: dict[Annotated[str, StringConstraints(pattern=_VARIABLE)], SecretKey] = Field(
        default_factory=dict
    )
    """Environment variable -> where its value is; the engine never sees it."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Of the Job and its pod; `kueue.x-k8s.io/queue-name` puts it into a queue."""
    annotations: dict[str, str] = Field(default_factory=dict)
    image_pull_secrets: list[DnsName] = Field(default_factory=list)
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    priority_class: DnsName | None = None
    runtime_class: DnsName | None = None
    run_as_user: Annotated[int, Field(ge=1, le=4_294_967_294)] | None = None
    """For images whose user is a name, or root: a pod that may be root is refused."""
    fs_group: Annotated[int, Field(ge=1, le=4_294_967_294)] | None = None

    @model_validator(mode="after")
    def _not_ours(self) -> PodSpec:
        for name in self.labels:
            if name.startswith(OURS):
                raise ValueError(f"the label '{name}' is set by the engine")
        for name in self.secrets:
            if name.startswith("HEADRACE_"):
                raise ValueError(f"the variable '{name}' is set by the engine")
        return self

    def over(self, base: PodSpec) -> PodSpec:
        """This one on top of an installation's own: maps and lists are joined, single values are this one's where set."""
        mine, theirs = self.model_dump(exclude_unset=True), base.model_dump(exclude_unset=True)
        joined = dict(theirs)
        for name, value in mine.items():
            known = theirs.get(name)
            if isinstance(value, dict) and isinstance(known, dict):
                joined[name] = known | value
            elif isinstance(value, list) and isinstance(known, list):
                joined[name] = [*known, *value]
            else:
                joined[name] = value
        return PodSpec(**joined)
