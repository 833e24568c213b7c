"""Where the operator's secrets may be sent. Their values are never here: workers read them when they call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.core.pointers import Problems, pointer
from app.core.services import host_of
from app.core.spec import Workflow
from app.errors import UsageError


class Allowed(BaseModel):
    """What may be done with one secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hosts: Annotated[list[str], Field(min_length=1)]
    """`host` or `host:port`, by https; `http://host:port` lets it travel in the clear; `*.host` is every name below."""


@dataclass(slots=True, frozen=True)
class SecretRules:
    """Every secret that there is, by name, with the hosts that it may be sent to. None given: none is known here."""

    allowed: Mapping[str, Allowed] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: object) -> SecretRules:
        """From the operator's file: {name: {hosts: [...]}}. Raises UsageError."""
        if not isinstance(value, dict):
            raise UsageError("HEADRACE_SECRETS_ALLOW must be a mapping of names of secrets.")
        try:
            return cls({str(name): Allowed.model_validate(rule) for name, rule in value.items()})
        except ValidationError as error:
            place = "/".join(map(str, error.errors()[0]["loc"]))
            raise UsageError(f"HEADRACE_SECRETS_ALLOW: {place}: {error.errors()[0]['msg']}") from None

    def refusal(self, name: str, url: str) -> str | None:
        """Why a secret may not be sent to a URL; None: it may."""
        rule = self.allowed.get(name)
        if rule is None:
            return f"there is no secret '{name}'; the operator lists them in HEADRACE_SECRETS_ALLOW"
        if not any(_fits(entry, url) for entry in rule.hosts):
            return f"the secret '{name}' may not be sent to {urlsplit(url).scheme}://{host_of(url)}"
        return None


def _fits(entry: str, url: str) -> bool:
    scheme, found, place = entry.lower().rpartition("://")
    if urlsplit(url).scheme != (scheme if found else "https"):
        return False
    host, _, port = host_of(url).rpartition(":")
    host = host.rstrip(".")
    named = place[:-1] if place.endswith(":") else place
    name, separator, number = named.rpartition(":")
    if separator and number.isdigit() and not name.endswith(":"):
        if number != port:
            return False
        named = name
    return host.endswith(named[1:]) if named.startswith("*.") else host == named


def check_secrets(workflow: Workflow, rules: SecretRules) -> None:
    """Raises InvalidInput with the place of each secret of a checked workflow that its service may not have."""
    problems = Problems()
    for name, node in workflow.nodes.items():
        service = node.service
        if service is not None and service.secret is not None:
            refusal = rules.refusal(service.secret, service.url)
            if refusal is not None:
                problems.add(pointer("nodes", name, "service", "secret"), refusal)
        if problems.full:
            break
    problems.raise_if_any("the workflow uses secrets that it may not use")
