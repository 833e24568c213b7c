"""What handlers work with; built once by the composition root."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from app.api.access import Access
from app.api.hook_cache import HookCache
from app.api.tallied import Tallied
from app.api.timings import Timings
from app.core.placement import Placement
from app.core.secrets import SecretRules
from app.intake import Intake, Listeners
from app.nodetypes_files import Catalogued
from app.objects import Objects
from app.published import PublishedCache
from app.secretfiles import SecretFiles, secret_rules
from app.settings import Settings
from app.store.overview import Overview
from app.store.store import Store


@dataclass(slots=True)
class Api:
    """The settings, the open store, and what this process remembers of it."""

    settings: Settings
    store: Store
    access: Access
    published: PublishedCache
    hooks: HookCache
    listeners: Listeners
    intake: Intake
    overview: Overview
    timings: Timings
    openapi: bytes
    """The OpenAPI document."""
    placement: Placement
    """Where nodes may run: what a document is checked against at publish."""
    catalogued: Catalogued
    """Brings node types of files that came since into the catalog."""
    logs: Objects
    """Where the logs of Jobs are."""
    secrets: SecretFiles
    secret_rules: SecretRules | None
    """Where secrets may be sent, checked at publish; None: only the workers know."""
    tallied: Tallied = field(default_factory=Tallied)

    @classmethod
    def over(
        cls,
        store: Store,
        settings: Settings,
        timings: Timings,
        openapi: bytes,
        placement: Placement,
        catalogued: Catalogued,
    ) -> Self:
        """Compose it over an open store."""
        published, listeners = PublishedCache(store.workflows), Listeners(store.workflows)
        return cls(
            settings=settings,
            store=store,
            access=Access(store.api_keys, store.secret),
            published=published,
            hooks=HookCache(store.hooks),
            listeners=listeners,
            intake=Intake(store.triggers, published, listeners),
            overview=Overview(store.batcher, store.keys),
            timings=timings,
            openapi=openapi,
            placement=placement,
            catalogued=catalogued,
            logs=Objects(settings.logs_at),
            secrets=SecretFiles(settings),
            secret_rules=secret_rules(settings),
        )
