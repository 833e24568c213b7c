"""The oracle: from what was sent and what came back, what the system did wrong.

No accepted trigger lost; one run and one terminal state for each; no effect of two epochs; no leaked key, slot or timer;
and results that no fault has changed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import redis.asyncio as aioredis

from app.core.states import NODE_TRANSITIONS, RUN_TRANSITIONS, STEPS, NodeStatus, RunStatus
from app.store.keys import GROUP, Keys
from loadtests.api import Api
from loadtests.senders import Answers

SIDE_BY_SIDE = 16


@dataclass(slots=True, frozen=True)
class Violation:
    """A promise that was broken: which, by what (an id), and how."""

    rule: str
    id: str
    detail: str


@dataclass(slots=True)
class Expected:
    """What every run of one kind must publish."""

    sha256: str
    count: int


@dataclass(slots=True)
class Verdict:
    """What was found, and what it took to get there."""

    violations: list[Violation] = field(default_factory=list[Violation])
    attempts: int = 0
    infrastructure_faults: int = 0
    node_runs: int = 0

    def blame(self, rule: str, id_: str, detail: str) -> None:
        self.violations.append(Violation(rule, id_, detail))


def judge_receipts(answers: Answers, ids: Iterable[str], verdict: Verdict) -> dict[str, str]:
    """Each webhook id has one receipt and one run, however often it was sent. The run of each id."""
    runs: dict[str, str] = {}
    for id_ in ids:
        found = set(answers.accepted.get(id_, ()))
        if id_ in answers.refused or not found:
            verdict.blame("every webhook is accepted in the end", id_, answers.refused.get(id_, "no answer"))
        if len(found) > 1:
            verdict.blame("one receipt and one run for each webhook", id_, f"{sorted(map(str, found))}")
        for receipt, run in found:
            if run is None:
                verdict.blame("an accepted webhook has a run", id_, f"receipt {receipt} has none")
            else:
                runs[id_] = run
    twice = Counter(runs.values())
    for id_, run in runs.items():
        if twice[run] > 1:
            verdict.blame("webhooks do not share a run", id_, run)
    return runs


def judge_events(run: str, events: list[dict[str, Any]], verdict: Verdict) -> dict[str, Counter[str]]:
    """One legal life from queued to succeeded, one way for each node run. By node run, how often it became what."""
    of_run = [event for event in events if event["type"] == "run"]
    path = [(event["from"], event["to"]) for event in of_run]
    wanted = [(None, "queued"), ("queued", "running"), ("running", "succeeded")]
    if path != wanted:
        verdict.blame("a run is queued, started and ended once", run, f"{path}")
    if events and events[-1]["type"] != "run":
        verdict.blame("nothing happens after a run has ended", run, f"{events[-1]}")
    for before, after in path:
        if before is not None and RunStatus(after) not in RUN_TRANSITIONS[RunStatus(before)]:
            verdict.blame("only transitions of the table", run, f"{before} -> {after}")
    refs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if event["type"] in ("node", "step"):
            item = event.get("item")
            refs[event["node"] if item is None else f"{event['node']}:{item}"].append(event)
    return {ref: _judge_node_run(run, ref, life, verdict) for ref, life in refs.items()}


def _judge_node_run(run: str, ref: str, life: list[dict[str, Any]], verdict: Verdict) -> Counter[str]:
    """Transitions join up, attempts never fall, and each step ended once, in order, in the epoch that was live."""
    became: Counter[str] = Counter()
    status, attempt, steps = "pending", 0, list[str]()
    name = f"{run}/{ref}"
    for event in life:
        if event["attempt"] < attempt:
            verdict.blame("attempts never fall", name, f"{event} after attempt {attempt}")
        attempt = event["attempt"]
        if event["type"] == "step":
            steps.append(event["step"])
            if status != "running" or event["epoch"] != became["running"]:
                verdict.blame(
                    "only the live epoch has effects", name, f"{event} in epoch {became['running']}, {status}"
                )
            continue
        legal = NodeStatus(event["to"]) in NODE_TRANSITIONS[NodeStatus(event["from"])]
        if event["from"] != status or not legal:
            verdict.blame("only transitions of the table, one after another", name, f"{event} from {status}")
        status = event["to"]
        became[status] += 1
    if steps and steps != [str(step) for step in STEPS]:
        verdict.blame("every step ends once, in order", name, f"{steps}")
    if status not in ("succeeded", "skipped"):
        verdict.blame("every node run succeeds", name, f"it is {status}")
    return became


def judge_nodes(
    run: str, nodes: list[dict[str, Any]], lives: Mapping[str, Counter[str]], verdict: Verdict
) -> None:
    """The record of each node run agrees with its transitions: attempts, faults, epochs, starts."""
    for node in nodes:
        became, name = lives.get(node["name"], Counter[str]()), f"{run}/{node['name']}"
        if node["status"] == "skipped":
            continue
        verdict.node_runs += 1
        verdict.attempts += node["attempt"]
        verdict.infrastructure_faults += node["infrastructure_faults"]
        launches = node["attempt"] + node["infrastructure_faults"]
        if became["ready"] != launches or became["starting"] != launches:
            verdict.blame(
                "a node run starts once for each attempt and fault",
                name,
                f"{dict(became)}, {launches} launches",
            )
        if node["epoch"] != became["running"]:
            verdict.blame("one instance holds an attempt", name, f"epoch {node['epoch']}, {dict(became)}")


def judge_output(run: str, output: Any, expected: Expected, verdict: Verdict) -> None:
    """The published file is, byte for byte, that of a run that nothing disturbed."""
    try:
        path = Path(unquote(urlsplit(output["uri"]).path))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, TypeError, KeyError) as error:
        verdict.blame("the published file is there", run, f"{type(error).__name__}: {output}")
        return
    if (found, output["sha256"], output["count"]) != (expected.sha256, expected.sha256, expected.count):
        verdict.blame(
            "the published file is as if nothing had happened", run, f"{found}, {output}, not {expected}"
        )


async def judge_run(api: Api, run: str, expected: Expected, verdict: Verdict) -> None:
    """Everything about one run."""
    record = await api.get(f"/runs/{run}")
    if record["status"] != "succeeded":
        verdict.blame("every run succeeds", run, f"{record['status']}: {record['error']}")
        return
    receipt = await api.get(f"/triggers/{record['receipt']}")
    if (receipt["state"], receipt["run"]) != ("started", run):
        verdict.blame("a receipt tells its run", run, f"{receipt}")
    lives = judge_events(run, await api.events(run), verdict)
    judge_nodes(run, (await api.get(f"/runs/{run}/nodes"))["items"], lives, verdict)
    judge_output(run, record["output"], expected, verdict)


async def judge_runs(api: Api, runs: Mapping[str, Expected], verdict: Verdict) -> None:
    """Every run, some side by side."""
    gate = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(run: str, expected: Expected) -> None:
        async with gate:
            await judge_run(api, run, expected, verdict)

    await asyncio.gather(*(one(run, expected) for run, expected in runs.items()))


class Leaks:
    """What must be empty once everything has ended, seen in the store and over the API."""

    def __init__(self, redis_url: str, api: Api) -> None:
        self._client = aioredis.from_url(redis_url, decode_responses=True, socket_timeout=10)  # pyright: ignore
        self._keys = Keys()
        self._api = api

    async def close(self) -> None:
        await self._client.aclose()

    async def queues(self) -> dict[str, int]:
        """Names of queues, sets and pools that are not empty, and how much is in each."""
        keys, call = self._keys, self._client
        found: dict[str, int] = {}
        for name, key in {"triggers": keys.triggers, "active": keys.active, "dead": keys.dead}.items():
            found[name] = int(await call.xlen(key))
        for name, key in {
            "queue": keys.queue,
            "lanes": keys.aging,
            "timers": keys.timers,
            "launches": keys.launches,
        }.items():
            found[name] = int(await call.zcard(key))
        for name, key in {"triggers": keys.triggers, "active": keys.active}.items():
            pending: Any = await call.xpending(key, GROUP)
            found[f"{name} pending"] = int(pending["pending"])
        for kind in ("pool:*", "procs:*"):
            async for key in call.scan_iter(f"{keys.tag}:{kind}", count=1000):
                found[key.removeprefix(f"{keys.tag}:")] = int(await call.hlen(key))  # pyright: ignore
        for pool in (await self._api.get("/pools"))["items"]:
            found[f"{pool['name']} holders by API"] = len(pool["holders"])
            found[f"{pool['name']} waiting by API"] = pool["waiting"]
        return {name: count for name, count in found.items() if count}

    async def settle(self, seconds: float) -> dict[str, int]:
        """Wait until nothing is left; what still is after so many seconds."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + seconds
        while True:
            left = await self.queues()
            if not left or loop.time() > give_up:
                return left
            await asyncio.sleep(0.25)

    async def judge(
        self, runs: set[str], receipts: set[str], verdict: Verdict, seconds: float = 30.0
    ) -> None:
        """Nothing waits, holds or is under way; every key belongs to a known run or receipt; no inbox has entries."""
        for name, count in (await self.settle(seconds)).items():
            verdict.blame("nothing is left behind", name, f"{count} entries")
        run_keys, receipt_keys = f"{self._keys.tag}:r:", f"{self._keys.tag}:t:"
        async for key in self._client.scan_iter(f"{run_keys}*", count=1000):
            run, _, part = key.removeprefix(run_keys).partition(":")
            if run not in runs:
                verdict.blame("no run without a webhook", run, f"key {key}")
            if part == "i" or part.startswith("f:"):
                verdict.blame("no inbox and no ledger is left", run, f"key {key}")
        found: set[str] = set()
        async for key in self._client.scan_iter(f"{receipt_keys}*", count=1000):
            found.add(key.removeprefix(receipt_keys))
        for receipt in found ^ receipts:
            verdict.blame(
                "a receipt for each accepted webhook and no other",
                receipt,
                "lost" if receipt in receipts else "unknown",
            )
        async for key in self._client.scan_iter(f"{run_keys}*", count=1000):
            if key.count(":") == run_keys.count(":") and await self._client.hexists(key, "ac"):  # pyright: ignore
                verdict.blame("no run stays marked active", key.removeprefix(run_keys), key)
