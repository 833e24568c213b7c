"""/metrics of the API tells what every process did: triggers that workers and listeners fire are counted too."""

from __future__ import annotations

import re
from typing import Any

import httpx
import orjson

WAIT: dict[str, Any] = {"a": {"wait": {"duration": "0s"}}}
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


async def scraped(url: str) -> dict[str, float]:
    """The samples of one target, `name{labels}` -> value; labels in the order of their names."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"{url}/metrics", headers={"host": "10.1.2.3"})).text
    return {f"{name}{{{labels}}}": float(value) for name, labels, value in SAMPLE.findall(text)}


def triggers(source: str, outcome: str = "queued") -> str:
    return f'headrace_triggers_total{{outcome="{outcome}",source="{source}"}}'


async def test_triggers_of_every_source_are_counted_whichever_process_accepts_them(site):
    url = site.installation.settings.api_url
    before = await scraped(url)

    async def more(source: str, outcome: str = "queued") -> float:
        name = triggers(source, outcome)
        return (await scraped(url)).get(name, 0) - before.get(name, 0)

    listens = {"triggers": [{"event": {"name": "e", "type": "counted.*", "when": "event.data.n > 0"}}]}
    document = {"name": "counted-event", "nodes": WAIT, **listens}
    (await site.http.put("/workflows/counted-event", json=document)).raise_for_status()
    after = {"triggers": [{"run": {"name": "after", "workflow": "counted-parent"}}]}
    (
        await site.http.put(
            "/workflows/counted-after", json={"name": "counted-after", "nodes": WAIT, **after}
        )
    ).raise_for_status()
    (
        await site.http.put("/workflows/counted-child", json={"name": "counted-child", "nodes": WAIT})
    ).raise_for_status()
    site.installation.listener()
    await site.worker()
    await site.fire({"child": {"workflow": "counted-child"}}, name="counted-parent")
    for number in (0, 1, 1):
        event = {
            "specversion": "1.0",
            "id": str(number),
            "source": "/here",
            "type": "counted.it",
            "data": {"n": number},
        }
        stream = site.installation.settings.listen_stream
        await site.store.batcher.call("XADD", stream, "*", "event", orjson.dumps(event))

    async def all_told() -> bool:
        events = [await more("event", outcome) for outcome in ("queued", "duplicate", "filtered")]
        return (await more("api"), await more("run"), events) == (1, 2, [1, 1, 1])

    await site.until(
        all_told, "one of the API, a child and a run trigger, and three of the listener", seconds=20
    )
    await site.http.delete("/workflows/counted-event")
    await site.http.delete("/workflows/counted-after")
