"""Every key of Redis, built here and nowhere else. Lua never builds a key: Python passes each.

All keys of a cell carry one hash tag, `{prefix:cell}`, so that one script may touch them together on a cluster.
`tests/store/test_keys.py` pins each literal: a change here is a migration.

| key | type | written by | TTL | holds |
|---|---|---|---|---|
| triggers | stream | accept | - | accepted triggers not yet started; entry {v, t, d}: version, receipt, the trigger as JSON |
| dead | stream | worker | - | dead letters: {kind, id, reason, d} |
| refused | stream | listener | - | the last messages of listeners that are no events: {id, reason, d} |
| active | stream | every script that adds a signal | - | runs with signals in their inbox; entry {r} |
| reactivate | string | who makes the group of active | - | there while runs with signals are to be put into active again |
| queue | zset (lex) | commit | - | "lane\\|ms\\|version\\|task" of what waits for admission; see app/core/pools.py |
| waits | hash | admit | - | pool -> "" where lanes wait for it, or "slots member" that it is reserved for |
| turns:NAME | zset | admit | - | lane -> its turn in the queue of a pool |
| filed | hash | admit | - | lane -> "pool ms": in whose queue it is, since when its head waits as its head |
| aging | zset | admit | - | lane -> ms when its head becomes more urgent |
| shares | hash | admit | - | workflow -> its virtual time; * is the present one |
| ready | zset | an older release | - | task -> ms when it became ready; a sweep moves it to the queue |
| timers | zset | commit, start, checkpoint | - | "run\\|ref" -> ms when it must be looked at again |
| launches | zset | admit | - | task -> lease (ms) of the worker that submits it |
| calls | zset | service executor, commit | - | task of a call to a service -> ms when a worker looks at it next |
| circuit:HOST | hash | service executor | 24 h | f failures in a row, o open until ms, n times opened, p probe until ms |
| pool:NAME | hash | admit, commit | - | holder -> "ms slots workflow type"; + counts slots beyond one each |
| pools | hash | API | - | name -> slots |
| r:RUN | hash | start_run, commit | retention | the run: see app/store/runs.py |
| r:RUN:i | list | every script that adds a signal | - | inbox: signals as JSON |
| r:RUN:e | stream | every script that makes a transition | retention | transitions {d: JSON of one, or of a list} |
| r:RUN:j | hash | commit | retention | node name -> "succeeded,failed,skipped" of its upstream nodes so far |
| r:RUN:n:REF | hash | commit, start, checkpoint | retention | the node run: the checkpoint hash |
| r:RUN:f:REF | hash | records | retention | position of a failed record -> its error as JSON |
| r:RUN:p | string | pack | retention | a finished run in one value: app/store/packed.py; its other keys are gone then |
| r:RUN:b | set | retention | retention | runs that refer to this one and pin it |
| r:RUN:x | hash | remove | until removed | {w, v, c}: a large run that is being removed, and how far that is |
| finished | zset | commit, retention | - | finished run -> ms when it is due: to be packed, then to be removed |
| gone | zset | remove | 1 day | removed run -> ms; each machine removes its logs of it |
| r:RUN:v:NODE | hash | commit | retention | a map's long list: number of a chunk -> its items as JSON |
| r:RUN:l:NODE | zset | commit | retention | a map's items that ended without success: item -> item |
| t:RECEIPT | hash | accept, start_run, redrive | 30 d | the receipt; of a dead one d: what it brought, de: its entry in dead |
| d:SCOPE:KEY | string | accept | 24 h | "receipt run body-hash" of the first use of an idempotency key |
| runs, w:NAME:runs | zset | start_run | retention | run -> ms created |
| w:NAME | hash | workflows | - | {version, etag, created, archived, paused, ...}; look: place of the next page of w:NAME:q |
| w:NAME:v:N | string | workflows | - | the canonical document of a version, node types pinned |
| w:NAME:v | hash | workflows | - | version -> {etag, created, by} as JSON |
| w:NAME:draft, w:NAME:layout | string | workflows | - | what the editor saves |
| limited | zset | start_run, concurrency | - | workflow with waiting runs -> ms of the next look at it |
| w:NAME:q | set | start_run, concurrency | - | digests of concurrency keys with waiting runs; - is only the paused workflow |
| w:NAME:c:DIGEST | zset | start_run and others | - | run that has a place -> ms of its trigger, less 10^12 once displaced |
| w:NAME:q:DIGEST | zset | start_run, concurrency, commit | - | run that waits for one -> priority * 10^13 + ms of its trigger |
| workflows | zset (lex) | workflows | - | names |
| schedules | zset | publish, scheduler | - | workflow with schedules -> ms of the next look at them; below 0: at once |
| w:NAME:ticks | hash | publish, accept | - | schedule -> ms of its last tick or of its beginning; schedule:times -> its times |
| listening | zset | publish | - | workflow with event triggers, or that had some -> ms of its last publish |
| w:NAME:after | set | publish | - | workflows with a run trigger on this one; some may have none any more |
| c:DIGEST | string | commit | its own | metadata that a node run with this cache key takes: {m, run, node, at} |
| w:NAME:hooks | hash | hooks | - | hook id -> its record as JSON |
| h:DIGEST | string | hooks | - | sha256 of a hook's token -> "workflow id" |
| nt:NAME | hash | node types | - | version -> the node type as JSON |
| node-types | hash | node types | - | name -> newest version |
| tallies | hash | workers, API | - | counts for /metrics, until an API takes them: the names of app/core/tally.py -> count |
| keys | hash | API keys | - | key id -> {hash, scopes, prefix, created} as JSON |
| secret | string | first start | - | 32 random bytes that sign node tokens |
| workers | zset | worker | - | worker id -> ms until which it is live |
| worker-info | hash | worker | - | worker id -> {host, pid, ...} as JSON |
| procs:HOST | hash | process executor | - | task -> pid, start time, worker as JSON |
| resumed | string | worker | - | ms of the last pause of Redis seen: heartbeats start again there |
| audit | stream | API | - | what was done by which key |
"""

from __future__ import annotations

GROUP = "workers"
"""The consumer group of every stream that workers share."""


class Keys:
    """The keys of one cell. `prefix` separates installations (and tests) that share a server."""

    def __init__(self, prefix: str = "headrace", cell: int = 0) -> None:
        self.tag = f"{{{prefix}:{cell}}}"
        tag = self.tag
        self.triggers = f"{tag}:triggers"
        self.dead = f"{tag}:dead"
        self.refused = f"{tag}:refused"
        self.active = f"{tag}:active"
        self.reactivate = f"{tag}:reactivate"
        self.ready = f"{tag}:ready"
        self.queue = f"{tag}:queue"
        self.waits = f"{tag}:waits"
        self.filed = f"{tag}:filed"
        self.aging = f"{tag}:aging"
        self.shares = f"{tag}:shares"
        self.timers = f"{tag}:timers"
        self.launches = f"{tag}:launches"
        self.calls = f"{tag}:calls"
        self.pools = f"{tag}:pools"
        self.runs = f"{tag}:runs"
        self.finished = f"{tag}:finished"
        self.gone = f"{tag}:gone"
        self.workflows = f"{tag}:workflows"
        self.limited = f"{tag}:limited"
        self.schedules = f"{tag}:schedules"
        self.listening = f"{tag}:listening"
        self.node_types = f"{tag}:node-types"
        self.api_keys = f"{tag}:keys"
        self.secret = f"{tag}:secret"
        self.resumed = f"{tag}:resumed"
        self.audit = f"{tag}:audit"
        self.workers = f"{tag}:workers"
        self.worker_info = f"{tag}:worker-info"
        self.arq_queue = f"{tag}:arq"
        self.tallies = f"{tag}:tallies"

    def pool(self, name: str) -> str:
        return f"{self.tag}:pool:{name}"

    def circuit(self, host: str) -> str:
        return f"{self.tag}:circuit:{host}"

    def turns(self, pool: str) -> str:
        return f"{self.tag}:turns:{pool}"

    def run(self, run: str) -> str:
        return f"{self.tag}:r:{run}"

    def inbox(self, run: str) -> str:
        return f"{self.tag}:r:{run}:i"

    def events(self, run: str) -> str:
        return f"{self.tag}:r:{run}:e"

    def joins(self, run: str) -> str:
        return f"{self.tag}:r:{run}:j"

    def node(self, run: str, ref: str) -> str:
        return f"{self.tag}:r:{run}:n:{ref}"

    def records(self, run: str, ref: str) -> str:
        return f"{self.tag}:r:{run}:f:{ref}"

    def of_run(self, run: str) -> list[str]:
        """Every key of a run but those of its node runs and its pins: what goes when it is removed."""
        return [self.run(run), self.inbox(run), self.events(run), self.joins(run), self.packed(run)]

    def of_node(self, run: str, ref: str) -> list[str]:
        """Every key of a node run."""
        own = [self.node(run, ref), self.records(run, ref)]
        return own if ":" in ref else [*own, *self.of_map(run, ref)]

    def of_map(self, run: str, node: str) -> list[str]:
        """What a map has beside its node run; most have none of it."""
        return [self.map_items(run, node), self.failed_items(run, node)]

    def packed(self, run: str) -> str:
        return f"{self.tag}:r:{run}:p"

    def pins(self, run: str) -> str:
        return f"{self.tag}:r:{run}:b"

    def removal(self, run: str) -> str:
        return f"{self.tag}:r:{run}:x"

    def map_items(self, run: str, node: str) -> str:
        return f"{self.tag}:r:{run}:v:{node}"

    def failed_items(self, run: str, node: str) -> str:
        return f"{self.tag}:r:{run}:l:{node}"

    def receipt(self, receipt: str) -> str:
        return f"{self.tag}:t:{receipt}"

    def dedupe(self, scope: str, key: str) -> str:
        return f"{self.tag}:d:{scope}:{key}"

    def workflow(self, name: str) -> str:
        return f"{self.tag}:w:{name}"

    def workflow_versions(self, name: str) -> str:
        return f"{self.tag}:w:{name}:v"

    def workflow_version(self, name: str, version: int) -> str:
        return f"{self.tag}:w:{name}:v:{version}"

    def workflow_draft(self, name: str) -> str:
        return f"{self.tag}:w:{name}:draft"

    def workflow_layout(self, name: str) -> str:
        return f"{self.tag}:w:{name}:layout"

    def workflow_runs(self, name: str) -> str:
        return f"{self.tag}:w:{name}:runs"

    def waiting_keys(self, name: str) -> str:
        return f"{self.tag}:w:{name}:q"

    def concurrency(self, name: str, digest: str) -> str:
        return f"{self.tag}:w:{name}:c:{digest}"

    def concurrency_queue(self, name: str, digest: str) -> str:
        return f"{self.tag}:w:{name}:q:{digest}"

    def ticks(self, name: str) -> str:
        return f"{self.tag}:w:{name}:ticks"

    def after(self, name: str) -> str:
        return f"{self.tag}:w:{name}:after"

    def cached(self, digest: str) -> str:
        return f"{self.tag}:c:{digest}"

    def workflow_hooks(self, name: str) -> str:
        return f"{self.tag}:w:{name}:hooks"

    def hook(self, digest: str) -> str:
        return f"{self.tag}:h:{digest}"

    def node_type(self, name: str) -> str:
        return f"{self.tag}:nt:{name}"

    def procs(self, host: str) -> str:
        return f"{self.tag}:procs:{host}"
