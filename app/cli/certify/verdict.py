"""All of it in order: two unharmed runs, then every case of the plan; and what that says of the node."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from app.cli.certify.engine import Bench, Place
from app.cli.certify.moments import Case, plan
from app.cli.certify.outcome import Difference, Outcome, differences, outcome_of
from app.cli.certify.trial import Trial

AT_A_TIME = 2
"""Runs that go on side by side."""
CLOSE = 20
"""Positions that the sample's records are given, about, where the node can be told."""
FENCE = "fence"


class Reason(StrEnum):
    """Why a node is not certified."""

    FAILED = "failed"
    """The unharmed run did not succeed."""
    NONDETERMINISTIC = "nondeterministic"
    """Two unharmed runs gave different things: no kill would say anything."""
    DIFFERENT = "different"
    """After a kill it gave something else, or failed."""
    NOT_FENCED = "not_fenced"
    """A process that was held was not refused, or went on after it."""
    NOT_KILLED = "not_killed"
    """It ended each time before it could be killed, or nothing was to be."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One case, carried out."""

    case: Case
    trial: Trial
    wrong: list[Difference]

    @property
    def killed(self) -> bool:
        return bool(self.trial.deaths)


@dataclass(slots=True)
class Verdict:
    """What was found of one node."""

    name: str
    seed: int
    kills: int
    reference: Outcome
    reason: Reason | None = None
    """None: it is certified."""
    unlike: list[Difference] = field(default_factory=list[Difference])
    """Between the two unharmed runs."""
    tried: list[Tried] = field(default_factory=list[Tried])
    protocol: bool = True
    """Whether it speaks the node protocol."""
    records: int = 0
    """Of its stream, as its last position counts them."""

    @property
    def unread(self) -> dict[str, str]:
        """Data that the metadata names and nobody here can read: it was not compared."""
        files = self.reference.files.items()
        return {uri: str(told["error"]) for uri, told in files if "error" in told}

    def told(self) -> dict[str, Any]:
        """For programs."""
        return {
            "node": self.name, "certified": self.reason is None, "reason": self.reason and self.reason.value,
            "seed": self.seed, "kills": self.kills, "protocol": self.protocol, "records": self.records,
            "status": self.reference.status, "error": self.reference.error or None,
            "metadata": self.reference.metadata, "files": self.reference.files,
            "failed_records": len(self.reference.failed), "unlike": [asdict(each) for each in self.unlike],
            "runs": [_told(each) for each in self.tried],
        }  # fmt: skip


def _told(tried: Tried) -> dict[str, Any]:
    trial = tried.trial
    return {
        "run": trial.run, "killed": [moment.text for moment in trial.deaths],
        "planned": [moment.text for moment in tried.case.moments], "processes": trial.lives,
        "resumed": [{"step": each.step, "seq": each.seq} for each in trial.resumes],
        "fence": None if trial.fence is None else asdict(trial.fence),
        "same": not tried.wrong, "differences": [asdict(each) for each in tried.wrong],
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a certification was asked for."""

    kills: int
    """Runs with kills at random places."""
    seed: int
    limit: float
    """Seconds for each run."""
    keep: bool = False
    """Data and logs stay."""


async def certify(bench: Bench, place: Place, wanted: Wanted) -> Verdict:
    """The verdict on the bench's node. Raises InputError where its document is not valid."""

    async def run(case: Case) -> tuple[Trial, Outcome]:
        trial = await bench.run(case, wanted.limit)
        return trial, await outcome_of(bench, trial, place.data, keep=wanted.keep)

    first, reference = await run(Case(()))
    verdict = Verdict(
        bench.subject.name, wanted.seed, wanted.kills, reference, protocol=first.spoke, records=first.done
    )
    if reference.status != "succeeded":
        verdict.reason = Reason.FAILED
        return verdict
    every = max(first.done // CLOSE, 1) if bench.subject.paced else None
    second, again = await run(Case((), every))
    verdict.unlike = differences(reference, again)
    if verdict.unlike:
        verdict.reason = Reason.NONDETERMINISTIC
        return verdict
    cases = plan(second.said, second.took, wanted.kills, wanted.seed, every)
    gate = asyncio.Semaphore(AT_A_TIME)

    async def attempt(case: Case) -> Tried:
        async with gate:
            trial, found = await run(case)
        return Tried(case, trial, [*differences(reference, found), *_fence(trial)])

    verdict.tried = list(await asyncio.gather(*map(attempt, cases)))
    verdict.reason = _reason(verdict.tried)
    return verdict


def _fence(trial: Trial) -> list[Difference]:
    if trial.fence is None or trial.fence.holds:
        return []
    found = "it went on after the 409" if trial.fence.refused else "its checkpoint was taken"
    return [Difference(FENCE, "", "409, and it ends", found)]


def _reason(tried: Sequence[Tried]) -> Reason | None:
    wrong = {each.what for one in tried for each in one.wrong}
    if wrong:
        return Reason.NOT_FENCED if wrong == {FENCE} else Reason.DIFFERENT
    return None if any(one.killed for one in tried) else Reason.NOT_KILLED
