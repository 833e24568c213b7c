"""A run and a node run as the API shows them, made of the fields of their records.

app/core/view.py says what each field means.
"""

from __future__ import annotations

from typing import Any

import orjson

from app.core.round import iso
from app.core.states import STEPS, NodeStatus
from app.core.tasks import split_ref

RUN_READ = (
    "s", "w", "v", "p", "l", "c", "b", "z", "n", "d", "f", "o", "x", "t", "src", "ev", "e", "pz", "up",
)  # fmt: skip
"""Fields of a run, in the order of shown_run."""
NODE_READ = (
    "s", "a", "l", "e", "p", "q", "m", "x", "y", "b", "r", "z", "u", "t", "pd", "pt", "fr", "n", "o", "ok",
    "bad", "dp", "ch", "am", "ad", "cf", "rd", "kr",
)  # fmt: skip
"""Fields of a node run, in the order of shown_node."""


def shown_run(run: str, values: list[bytes | None]) -> dict[str, Any] | None:
    """GET /runs/{run}, of the values of RUN_READ; None where there is no record. Times are ISO 8601."""
    s, w, v, p, l, c, b, z, n, d, f, o, x, t, src, ev, e, pz, up = values  # noqa: E741
    if s is None or w is None:
        return None
    return {
        "id": run, "workflow": w.decode(), "version": int(v or 0), "status": s.decode(), "params": _json(p),
        "output": _json(o), "error": _json(x), "labels": _json(l) or {}, "created": _time(c), "started": _time(b),
        "ended": _time(z), "nodes": {"total": int(n or 0), "ended": int(d or 0), "failed": int(f or 0)},
        "receipt": t.decode() if t else None, "source": src.decode() if src else None, "event": _json(ev),
        "ending": e.decode() if e else None, "paused": _time(pz), "origin": _origin(_json(up)),
        "parent": _parent(_json(up)),
    }  # fmt: skip


def _origin(up: dict[str, Any] | None) -> dict[str, Any] | None:
    """The run that this one was made from by a retry or a fork, and where it begins."""
    return {"run": up["of"], "action": up["by"], "from": up["at"]} if up and "of" in up else None


def _parent(up: dict[str, Any] | None) -> dict[str, Any] | None:
    """The node run whose child a run is."""
    if up is None or "r" not in up:
        return None
    node, item = split_ref(up["n"])
    parent = {"run": up["r"], "node": node, "attempt": up["a"]}
    return parent if item is None else parent | {"item": item}


def shown_node(
    ref: str, values: list[bytes | None], *, is_map: bool, unknown: NodeStatus = NodeStatus.PENDING
) -> dict[str, Any]:
    """GET /runs/{run}/nodes/{node}, of the values of NODE_READ; `unknown` is its status where it has no record."""
    s, a, l, e, p, q, m, x, y, b, r, z, u, t, pd, pt, fr, n, o, ok, bad, dp, ch, am, ad, cf, rd, kr = values  # noqa: E741
    name, item = split_ref(ref)
    record: dict[str, Any] = {
        "name": name, "status": s.decode() if s else str(unknown), "attempt": int(a or 0),
        "infrastructure_faults": int(l or 0) + (dp.count(b",") + 1 if dp else 0), "epoch": int(e or 0),
        "step": str(STEPS[int(p) - 1]) if p else None, "seq": int(q) if q else None, "metadata": _json(m),
        "error": None if s == b"succeeded" else _json(x),
        "ready": _time(y), "started": _time(r) or _time(b), "ended": _time(z),
        "waiting_until": _time(u) if s == b"waiting" else None, "stopping": t.decode() if t else None,
        "progress": {"done": int(pd), "total": int(pt) if pt else None} if pd else None, "failed_records": int(fr or 0),
        "kept_from": kr.decode() if kr else None,
    }  # fmt: skip
    if item is not None:
        record["item"] = item
    if ch:
        record["child"] = ch.decode()
    if am is not None:
        record["approval"] = {
            "message": am.decode(),
            "since": _time(y),
            "until": _time(u),
            "decision": _json(ad),
        }
    if rd:
        record["redo_of"] = rd.decode()
    if cf:
        record["cached_from"] = _json(cf)
    if is_map:
        count, started, good, failed = int(n or 0), int(o or 0), int(ok or 0), int(bad or 0)
        live = started - good - failed
        record["items"] = {
            "count": count,
            "pending": count - started,
            "live": live,
            "succeeded": good,
            "failed": failed,
        }
    return record


def kept_item(home: str, values: list[bytes | None], kept: bool) -> list[bytes | None]:
    """The values of NODE_READ of an item that was read where its whole map ran."""
    return [*values[:-1], home.encode()] if kept and values[-1] is None else values


def _json(raw: bytes | None) -> Any:
    return None if raw is None else orjson.loads(raw)


def _time(raw: bytes | None) -> str | None:
    return iso(int(raw)) if raw and raw != b"0" else None
