"""`headrace doctor`: every setting with its source, and what of Redis is not durable."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import typer
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings
from rich.console import Group
from rich.text import Text

from app.cli.client import DEV_READY
from app.cli.output import EXIT_ERROR, Format, Output, emit, plain, table
from app.core.pools import GLOBAL
from app.errors import HeadraceError
from app.settings import ClientSettings, Settings

if TYPE_CHECKING:
    from workers.executors.kubernetes.quota import Limit

MASK = "***"
OLDEST = (7, 2)
"""The oldest server we are tested with."""


class Setting(NamedTuple):
    """One setting as it holds now. `source`: environment, default, or invalid."""

    name: str
    value: Any
    source: str


class Finding(NamedTuple):
    """One check. Not ok means: something accepted could be lost, or nothing can be accepted."""

    check: str
    ok: bool
    detail: str


def doctor(
    output: Output = Format.TABLE,
    redis: Annotated[bool, typer.Option("--redis/--no-redis", help="Ask Redis as well.")] = True,
    cluster: Annotated[
        bool,
        typer.Option("--cluster/--no-cluster", help="Ask the cluster, where HEADRACE_EXECUTORS has one."),
    ] = True,
) -> None:
    """List every setting with its source; check that Redis keeps what it is given, and what we may do in the cluster."""
    settings = [*_settings(Settings), *_settings(ClientSettings)]
    url, source = _redis_url()
    findings = asyncio.run(examine(url)) if redis else []
    rights = asyncio.run(examine_cluster(redis=redis)) if cluster else []
    data = {
        "settings": [setting._asdict() for setting in settings],
        "redis": {
            "url": masked(url),
            "source": source,
            "checks": [finding._asdict() for finding in findings],
        },
        "cluster": {"checks": [finding._asdict() for finding in rights]},
    }
    emit(data, output, lambda: Group(_view(settings, masked(url), source, findings), *_cluster_view(rights)))
    if any(setting.source == "invalid" for setting in settings) or not all(
        finding.ok for finding in (*findings, *rights)
    ):
        raise typer.Exit(EXIT_ERROR)


def _settings(kind: type[BaseSettings]) -> list[Setting]:
    prefix = str(kind.model_config.get("env_prefix", ""))
    invalid: dict[str, str] = {}
    try:
        held = kind()
        given = held.model_fields_set
    except ValidationError as error:
        invalid = {str(e["loc"][0]).removeprefix(prefix.lower()): str(e["msg"]) for e in error.errors()}
        held, given = kind.model_construct(), set[str]()
    rows: list[Setting] = []
    for name in kind.model_fields:
        source = "invalid" if name in invalid else ("environment" if name in given else "default")
        rows.append(Setting((prefix + name).upper(), invalid.get(name, _shown(getattr(held, name))), source))
    return rows


def _shown(value: object) -> Any:
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        return masked(text) if "://" in text else (MASK if text else "")
    return value if isinstance(value, int | float | bool) else str(value)


def masked(url: str) -> str:
    """A URL without its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    head, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{head.partition(':')[0]}:{MASK}@{host}"))


def _redis_url() -> tuple[str, str]:
    """The server in the environment, else that of the dev of this directory, else the default."""
    try:
        settings = Settings()
    except ValidationError:
        settings = Settings.model_construct()
    url = settings.redis_url.get_secret_value()
    if "redis_url" in settings.model_fields_set:
        return url, "environment"
    try:
        return str(json.loads(DEV_READY.read_text("utf-8"))["redis_url"]), str(DEV_READY)
    except (OSError, ValueError, KeyError, TypeError):
        return url, "default"


async def examine(url: str) -> list[Finding]:
    """Ask the server at `url` what it would lose. CONFIG may be closed to us; then only INFO speaks."""
    from app.store.client import connect, translate

    client = connect(url, timeout=3.0)
    try:
        info: dict[str, Any] = await client.info()
    except Exception as error:
        return [
            Finding("connection", False, getattr(translate(error), "message", "the server does not answer"))
        ]
    else:
        try:
            config: dict[str, str] = await client.config_get("*")
        except Exception:
            config = {}
        return judge(info, config)
    finally:
        await client.aclose()


async def examine_cluster(*, redis: bool = True) -> list[Finding]:
    """Whether logs go where the API reads them, what we may not do in the Jobs' namespace, and whether we admit more than it
    has room for; nothing without a cluster."""
    try:
        settings = Settings()
    except ValidationError:
        return []
    if "kubernetes" not in settings.executors:
        return []
    return [*_logs(settings), *await _namespace(settings, redis=redis)]


def _logs(settings: Settings) -> list[Finding]:
    from app.joblogs import check_shared

    try:
        check_shared(settings)
    except HeadraceError as error:
        return [Finding("logs", False, error.message)]
    return []


async def _namespace(settings: Settings, *, redis: bool) -> list[Finding]:
    from workers.executors.kubernetes.client import Cluster
    from workers.executors.kubernetes.quota import limits_of
    from workers.executors.kubernetes.rights import RIGHTS, denied

    try:
        cluster = await Cluster.open(settings)
    except HeadraceError as error:
        return [Finding("connection", False, error.message)]
    try:
        missing = await denied(cluster)
        known = not any(right.resource == "resourcequotas" for right in missing)
        limits = await limits_of(cluster) if known else []
    except HeadraceError as error:
        return [Finding("connection", False, error.message)]
    finally:
        await cluster.close()
    where = f"in the namespace {settings.kubernetes_namespace}"
    rights = [Finding(str(right), False, f"denied {where}: {right.missing}") for right in missing]
    if not missing:
        rights = [Finding("rights", True, f"all {len(RIGHTS)} that workers use {where}")]
    return [*rights, *judge_room(limits, await _slots(settings) if redis else settings.global_slots)]


async def _slots(settings: Settings) -> int:
    """Of the pool `global`, as it was set over the API, else by the setting."""
    from app.store.client import connect
    from app.store.keys import Keys

    client = connect(settings.redis_url.get_secret_value(), timeout=3.0)
    try:
        found: Any = await client.execute_command("HGET", Keys(settings.prefix).pools, GLOBAL)
    except Exception:
        found = None
    finally:
        await client.aclose()
    return settings.global_slots if found is None else int(found)


def judge_room(limits: Sequence[Limit], slots: int) -> list[Finding]:
    """Whether the pool `global`, of which each node run holds a slot, lies below what each quota of the namespace has."""
    findings: list[Finding] = []
    for quota, resource, most in limits:
        text = f"the pool global has {slots} slots, the quota {quota} {most} {resource}"
        mend = (
            "" if slots < most else f": what is over waits in the cluster, where no priority counts and slots are held; "
            f"set HEADRACE_GLOBAL_SLOTS or `headrace pool set global` below {most}, or enlarge the quota"
        )  # fmt: skip
        findings.append(Finding("quota", slots < most, text + mend))
    return findings


def judge(info: dict[str, Any], config: dict[str, str]) -> list[Finding]:
    """What INFO and CONFIG say about durability."""
    version = str(info.get("valkey_version") or info.get("redis_version", "0"))
    number = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    aof = bool(int(info.get("aof_enabled", 0)))
    write = str(info.get("aof_last_write_status", "ok"))
    policy = str(info.get("maxmemory_policy", config.get("maxmemory-policy", "")))
    findings = [
        Finding("connection", True, f"{info.get('server_name', 'redis')} {version}"),
        Finding("version", number >= OLDEST, f"{version}; at least {OLDEST[0]}.{OLDEST[1]} is wanted"),
        Finding(
            "appendonly", aof, "yes" if aof else "no: everything is lost at a restart; set appendonly yes"
        ),
        Finding("last write of the AOF", write == "ok", write),
        Finding(
            "maxmemory-policy",
            policy == "noeviction",
            policy + ("" if policy == "noeviction" else ": keys vanish"),
        ),
    ]
    if config:
        fsync = config.get("appendfsync", "")
        pause = config.get("no-appendfsync-on-rewrite", "")
        lossy = {
            "everysec": ": a power loss takes up to a second",
            "no": ": a power loss takes up to half a minute",
        }
        findings += [
            Finding("appendfsync", fsync == "always", fsync + lossy.get(fsync, "")),
            Finding("no-appendfsync-on-rewrite", pause == "no", pause),
        ]
    else:
        findings.append(Finding("appendfsync", False, "unknown: CONFIG GET is closed to us"))
    return findings


def _cluster_view(findings: list[Finding]) -> list[Any]:
    if not findings:
        return []
    return [Text.assemble(("\nCluster", "bold")), table(["", "", ""], [_row(each) for each in findings])]


def _row(finding: Finding) -> tuple[Text, str, str]:
    mark = Text("✔", style="green") if finding.ok else Text("✘", style="red")
    return mark, finding.check, finding.detail


def _view(settings: list[Setting], url: str, source: str, findings: list[Finding]) -> Group:
    look = {"environment": "bold", "invalid": "bold red"}
    rows = [
        (
            Text(s.name, style=look.get(s.source, "")),
            Text(plain(s.value)),
            Text(s.source, style=look.get(s.source, "bright_black")),
        )
        for s in settings
    ]
    parts: list[Any] = [table(["SETTING", "VALUE", "SOURCE"], rows)]
    if findings:
        checks = [_row(finding) for finding in findings]
        parts += [
            Text.assemble(("\nRedis  ", "bold"), plain(url), (f"  from {source}", "bright_black")),
            table(["", "", ""], checks),
        ]
    return Group(*parts)
