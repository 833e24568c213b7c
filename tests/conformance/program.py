"""The program of the suite: it needs nothing but Python, speaks the protocol, and does what its config says.

config: desk (where it reports), plus
  positions how many positions to checkpoint
  crash     at this position the first attempt exits with 1
  gate      wait until this gate of the desk is open before output, giving signs of life
  stubborn  ignore SIGTERM; without it, SIGTERM is reported and ends it with 1
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
import uuid
from typing import Any

E = dict(os.environ)
BASE = f"{E['HEADRACE_API_URL']}/api/v1/runs/{E['HEADRACE_RUN_ID']}/nodes/{E['HEADRACE_NODE']}"
STALE = 3


def call(url: str, body: Any = None, token: str = "") -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10) as answer:
        return json.loads(answer.read() or b"null")


def post(what: str, **body: Any) -> Any:
    while True:
        try:
            return call(f"{BASE}/{what}", body, E["HEADRACE_TOKEN"])
        except urllib.error.HTTPError as error:
            if error.code == 409:
                sys.exit(STALE)
            if error.code < 500:
                raise
        except OSError:
            pass
        time.sleep(0.1)


def report(**line: Any) -> None:
    own = {"run": E["HEADRACE_RUN_ID"], "pid": os.getpid(), "attempt": int(E["HEADRACE_ATTEMPT"])}
    call(config["desk"], {**own, **line})


def asked_to_stop(number: int, frame: object) -> None:
    report(what="asked to stop")
    if not config.get("stubborn"):
        sys.exit(1)


def may_go_on() -> bool:
    try:
        call(f"{config['desk']}/{config['gate']}")
    except urllib.error.HTTPError:
        return False
    return True


started = post("start", instance=str(uuid.uuid4()))
config, epoch, done = started["config"], started["epoch"], started.get("checkpoint") or {}
began = int(done.get("seq") or 0)
signal.signal(signal.SIGTERM, asked_to_stop)
print("began from", began, flush=True)
report(what="began", began=began, epoch=epoch, environment=sorted(E))
if not done.get("step"):
    post("checkpoints", epoch=epoch, steps=[{"step": "configure"}])
for seq in range(began + 1, config.get("positions", 3) + 1):
    post("checkpoints", epoch=epoch, steps=[{"step": "execute", "seq": seq, "data": {"at": seq}}])
    if config.get("crash") == seq and E["HEADRACE_ATTEMPT"] == "1":
        sys.exit(1)
if "gate" in config:
    print("waits", flush=True)
    report(what="waits")
    while not may_go_on():
        post("heartbeat", epoch=epoch)
        time.sleep(0.1)
metadata = {"attempt": int(E["HEADRACE_ATTEMPT"]), "began": began}
steps = [{"step": "execute"}, {"step": "output", "metadata": metadata}, {"step": "finalize"}]
post("checkpoints", epoch=epoch, steps=steps)
print("done", flush=True)
