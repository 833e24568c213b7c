"""A node program without the SDK: it speaks the protocol over urllib and does what its config says.

config: dir (where it leaves its diary and looks for gates), plus
  gate      wait for the file DIR/NAME before output, heartbeating
  positions how many positions to checkpoint first
  lingers   after all steps wait for the file DIR/NAME before it exits
  twice     make every call twice, as after a lost answer
  mended    exit with 42 as long as the file DIR/NAME is not there
  hang      after configure neither go on nor give a sign of life
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

E = os.environ
ITEM = f"/items/{E['HEADRACE_ITEM']}" if "HEADRACE_ITEM" in E else ""
BASE = f"{E['HEADRACE_API_URL']}/api/v1/runs/{E['HEADRACE_RUN_ID']}/nodes/{E['HEADRACE_NODE']}{ITEM}"
STALE = 3


def once(what: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {E['HEADRACE_TOKEN']}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{BASE}/{what}", json.dumps(body).encode(), headers)
    for _ in range(300):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 409:
                diary(stale=what)
                sys.exit(STALE)
            if error.code < 500:
                raise
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit(1)


def post(what: str, **body: Any) -> dict[str, Any]:
    answer = once(what, body)
    if config.get("twice"):
        diary(same=once(what, body) == answer)
    return answer


def diary(**line: Any) -> None:
    entry = {"pid": os.getpid(), "attempt": int(E["HEADRACE_ATTEMPT"]), **line}
    with (FOLDER / f"{E['HEADRACE_NODE']}.diary").open("a") as file:
        file.write(json.dumps(entry) + "\n")


started = once("start", {"instance": str(uuid.uuid4())})
config, epoch, done = started["config"], started["epoch"], started["checkpoint"]
FOLDER = Path(config["dir"])
diary(epoch=epoch, step=done["step"], seq=done["seq"])
if "mended" in config and not (FOLDER / config["mended"]).exists():
    sys.exit(42)


def ends(step: str, **more: Any) -> None:
    if done["step"] is None or STEPS.index(done["step"]) < STEPS.index(step):
        post("checkpoints", epoch=epoch, steps=[{"step": step, **more}])


STEPS = ["configure", "execute", "output", "finalize"]
ends("configure")
if config.get("hang"):
    while True:
        time.sleep(60)
if done["step"] in (None, "configure"):
    for seq in range((done["seq"] or 0) + 1, config.get("positions", 0) + 1):
        post("checkpoints", epoch=epoch, steps=[{"step": "execute", "seq": seq, "data": {"at": seq}}])
    diary(waits=True)
while "gate" in config and not (FOLDER / config["gate"]).exists():
    post("heartbeat", epoch=epoch)
    time.sleep(0.05)
ends("execute")
ends("output", metadata={"epoch": epoch, "attempt": started["attempt"]})
ends("finalize")
while "lingers" in config and not (FOLDER / config["lingers"]).exists():
    time.sleep(0.02)
