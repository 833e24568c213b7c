"""A node program that needs nothing but Python: it speaks the protocol and resumes inside execute.

It checkpoints the positions 1, 2 and 3, then waits for the file /tmp/go, giving signs of life; a pod that finds a
position goes on after it. Its metadata: the epoch, the attempt, and the position it began from.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid

E = os.environ
BASE = f"{E['HEADRACE_API_URL']}/api/v1/runs/{E['HEADRACE_RUN_ID']}/nodes/{E['HEADRACE_NODE']}"
STALE = 3


def post(what, **body):
    headers = {"Authorization": f"Bearer {E['HEADRACE_TOKEN']}", "Content-Type": "application/json"}
    while True:
        try:
            request = urllib.request.Request(f"{BASE}/{what}", json.dumps(body).encode(), headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 409:
                print("stale", flush=True)
                sys.exit(STALE)
            if error.code < 500:
                raise
        except OSError:
            pass
        time.sleep(0.1)


started = post("start", instance=str(uuid.uuid4()))
epoch = started["epoch"]
checkpoint = started.get("checkpoint") or {}
began = int(checkpoint.get("seq") or 0)
print("epoch", epoch, "from", began, flush=True)
if not checkpoint.get("step"):
    post("checkpoints", epoch=epoch, steps=[{"step": "configure"}])
for seq in range(began + 1, 4):
    post("checkpoints", epoch=epoch, steps=[{"step": "execute", "seq": seq, "data": {"at": seq}}])
print("waiting", flush=True)
while not os.path.exists("/tmp/go"):
    post("heartbeat", epoch=epoch)
    time.sleep(0.3)
metadata = {"epoch": epoch, "attempt": int(E["HEADRACE_ATTEMPT"]), "began": began}
steps = [{"step": "execute"}, {"step": "output", "metadata": metadata}, {"step": "finalize"}]
post("checkpoints", epoch=epoch, steps=steps)
print("done", flush=True)
