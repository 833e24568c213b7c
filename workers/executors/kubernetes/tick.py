"""What the pod of a CronJob runs: it posts one tick. Its text is the pod's command, so it needs Python alone.

HEADRACE_TICK_URL is where, HEADRACE_TICK_JOB the name of the Job, whose end is the scheduled time in minutes since the epoch.
"""

import datetime
import json
import os
import sys
import time
import urllib.error
import urllib.request

TRIES = 6


def scheduled(job: str) -> dict[str, str]:
    """The body: the scheduled time, or none for a Job that somebody made by hand."""
    minutes = job.rpartition("-")[2]
    if not minutes.isdigit():
        return {}
    return {"time": datetime.datetime.fromtimestamp(int(minutes) * 60, datetime.timezone.utc).isoformat()}  # noqa: UP017 - older Pythons


def post(url: str, body: dict[str, str]) -> str:
    """The answer. Raises SystemExit for a refusal, OSError where trying again may help."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - a URL of ours
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        if error.code < 500:
            raise SystemExit(f"refused: {error.code} {error.read(2000).decode(errors='replace')}") from error
        raise


def main() -> None:
    url, body = os.environ["HEADRACE_TICK_URL"], scheduled(os.environ["HEADRACE_TICK_JOB"])
    for attempt in range(TRIES):
        try:
            sys.stdout.write(post(url, body) + "\n")
            return
        except OSError as error:
            sys.stderr.write(f"not posted: {error}\n")
            time.sleep(2**attempt)
    raise SystemExit("the API did not take the tick")


if __name__ == "__main__":
    main()
