"""The page in a real browser: what comes from outside is shown as text, whatever it is (fault row 38)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import orjson
import pytest

from app.logfiles import log_path
from app.settings import Settings
from app.store.store import Store
from tests.api.browser import Browser
from tests.api.conftest import ADMIN_KEY

Begin = Callable[..., Awaitable[str]]
pytestmark = pytest.mark.usefixtures("published")

ATTACK = "</pre><script>window.hit=1</script><img src=x onerror='window.hit=1'>\r\nSet-Cookie: x\x1b[31mred"
TABS = ("Metadata", "Failed records", "Attempts", "Logs")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    opened = Browser(tmp_path / "browser")
    yield opened
    opened.close()


@pytest.fixture
async def attacked(begin: Begin, store: Store, settings: Settings) -> str:
    """A run in which every text that is not of the engine's own making is an attack."""
    run = await begin({"feed": ATTACK})
    call, keys = store.batcher.call, store.keys
    text = orjson.dumps({"title": ATTACK, ATTACK: "as a name"})
    error = orjson.dumps({"type": ATTACK, "message": ATTACK})
    past = orjson.dumps({"attempt": 1, "started": None, "ended": "2026-01-01T00:00:00Z", "error": orjson.Fragment(error),
                         "infrastructure": False})  # fmt: skip
    record = orjson.dumps({"index": 0, "key": ATTACK, "type": ATTACK, "message": ATTACK})
    fields = ["s", "failed", "a", 2, "m", text, "x", error, "A1.0", past, "fr", 1]
    await call("HSET", keys.node(run, "read"), *fields)
    await call("HSET", keys.records(run, "read"), 0, record)
    await call("HSET", keys.run(run), "s", "failed", "x", error, "o", text, "src", ATTACK)
    log = log_path(settings.log_dir, run, "read", 2, 0)
    log.parent.mkdir(parents=True)
    log.write_text(ATTACK)
    return run


def look(browser: Browser, server: str, run: str) -> dict[str, str]:
    """What each part of the page shows, after a person has signed in and opened it."""
    browser.open(f"{server}/#key={ADMIN_KEY}")
    browser.until("document.querySelectorAll('table.runs tbody tr').length > 0")
    shown = {"Runs": browser.run("document.body.innerText")}
    browser.run(f"void (location.hash = '#/runs/{run}')")
    browser.until("document.querySelector('[data-node=read] button') !== null")
    shown["Run"] = browser.run("document.body.textContent")
    browser.run("document.querySelector('[data-node=read] button').click()")
    browser.until("document.querySelector('tr.details [role=tab]') !== null")
    for tab in TABS:
        click = f"[...document.querySelectorAll('tr.details [role=tab]')].find((e) => e.textContent === '{tab}').click()"
        browser.run(click)
        browser.until("document.querySelector('tr.details').textContent.includes('window.hit=1')")
        shown[tab] = browser.run("document.querySelector('tr.details').textContent")
    return shown


async def test_markup_line_ends_and_escapes_are_shown_as_text(browser: Browser, server: str, attacked: str):
    shown = await asyncio.to_thread(look, browser, server, attacked)
    for part, text in shown.items():
        if part != "Runs":
            assert "<script>window.hit=1</script>" in text, part
    assert browser.run("window.hit ?? null") is None
    assert browser.run("document.querySelectorAll('main script, main img').length") == 0
    assert browser.run("document.cookie") == ""
    assert browser.dialogs == 0
