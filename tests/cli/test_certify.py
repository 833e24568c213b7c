"""`headrace node certify` from outside: real processes, killed with -9, on an engine of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.certify import verdict

CAREFUL = '''
from headrace import Node


class Careful(Node):
    """Keeps what it counts with its position"""

    type = "careful"

    def configure(self, ctx):
        return [{"n": n} for n in range(ctx.config["count"])]

    def execute(self, ctx, record):
        if record["n"] == 7:
            raise ValueError("seven")
        ctx.state["sum"] = ctx.state.get("sum", 0) + record["n"]
        return record

    def output(self, ctx, results):
        top = ctx.item["top"] + ctx.inputs["before"]["top"]
        return {"uri": results.uri, "sum": results.state["sum"], "top": top}

    def finalize(self, ctx):
        pass
'''
CAREFUL_SAMPLE = "{config: {count: 20}, inputs: {before: {top: 1}}, item: {top: 2}, tolerate: 0.5}"

APPENDS = '''
from headrace import Node


class Appends(Node):
    """Appends to a file of its own as it takes a record, and once more where it takes it again"""

    type = "appends"

    def configure(self, ctx):
        return [{"n": n} for n in range(10)]

    def execute(self, ctx, record):
        ctx.data_dir.mkdir(parents=True, exist_ok=True)
        with open(ctx.data_dir / "own.txt", "a") as file:
            file.write(f"{record['n']}\\n")
        return record

    def output(self, ctx, results):
        own = ctx.data_dir / "own.txt"
        return {"uri": own.as_uri(), "lines": len(own.read_text().splitlines())}
'''

DICE = '''
import os

from headrace import Node


class Dice(Node):
    """Gives something else whenever it runs"""

    type = "dice"

    def output(self, ctx, results):
        return {"thrown": os.urandom(8).hex(), "sides": 6}
'''

SPEAKS = '''
"""Speaks the protocol without the SDK. What it does wrong is named by its argument."""
import json, os, sys, urllib.error, urllib.request, uuid

E = os.environ
URL = f"{E['HEADRACE_API_URL']}/api/v1/runs/{E['HEADRACE_RUN_ID']}/nodes/{E['HEADRACE_NODE']}"
WRONG = sys.argv[1]


def post(name, **body):
    headers = {"authorization": f"Bearer {E['HEADRACE_TOKEN']}", "content-type": "application/json"}
    request = urllib.request.Request(f"{URL}/{name}", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if WRONG != "goes on" or error.code != 409:
            sys.exit(3)


started = post("start", instance=str(uuid.uuid4()))
epoch, last = started["epoch"], started["checkpoint"]
done = int(last["seq"] or 0)
restarted = last["step"] is not None
if not restarted:
    post("checkpoints", epoch=epoch, steps=[{"step": "configure"}])
if last["step"] in (None, "configure"):
    for seq in range(done + 1, 7):
        post("checkpoints", epoch=epoch, steps=[{"step": "execute", "seq": seq, "data": seq}])
metadata = {"count": 6, "restarted": restarted and WRONG == "tells"}
ends = [{"step": "execute"}, {"step": "output", "metadata": metadata}, {"step": "finalize"}]
kept = {None: 0, "configure": 0, "execute": 1, "output": 2, "finalize": 3}[last["step"]]
post("checkpoints", epoch=epoch, steps=ends[kept:])
'''

BOUNDARIES = [
    f"{side} {step}"
    for step in ("configure", "execute", "output", "finalize")
    for side in ("before", "after")
]


def write(here: Path, name: str, text: str, sample: str = "{}") -> None:
    (here / f"{name}.py").write_text(text)
    (here / f"{name}.sample.yaml").write_text(sample)


def program(here: Path, name: str, *command: str) -> str:
    """The manifest of any program."""
    manifest = here / f"{name}.json"
    manifest.write_text(json.dumps({"name": name, "command": list(command)}))
    return str(manifest)


def certified(headrace, *arguments: str) -> tuple[int, dict[str, Any]]:
    ran = headrace("node", "certify", *arguments, "-o", "json")
    assert ran.out, ran.err
    return ran.code, json.loads(ran.out)


def test_a_node_that_resumes_is_certified_whatever_it_is_given(here: Path, headrace):
    write(here, "careful", CAREFUL, CAREFUL_SAMPLE)
    code, found = certified(headrace, "careful.py", "--kills", "3", "--seed", "11")
    assert (code, found["certified"], found["reason"]) == (0, True, None)
    assert found["metadata"] == {"uri": "file://{data}/{run}/careful/0/manifest.json", "sum": 183, "top": 3}
    assert (found["records"], found["failed_records"]) == (20, 1)
    [data] = found["files"].values()
    assert data["records"] == 19
    runs = found["runs"]
    assert [run["killed"] for run in runs[:8]] == [[text] for text in BOUNDARIES]
    assert [run["processes"] for run in runs[:8]] == [2, 2, 2, 2, 2, 2, 2, 1]
    steps = [None, "configure", "configure", "execute", "execute", "output", "output"]
    assert [run["resumed"][0]["step"] for run in runs[:7]] == steps
    held, *random = runs[8:]
    assert held["killed"] == ["held before position 11"]
    assert held["resumed"] == [{"step": "configure", "seq": 10}]
    assert held["fence"] == {"refused": True, "exit_code": 3, "further": 0}
    assert len(random) == 3
    assert all(run["killed"] and run["processes"] == 1 + len(run["killed"]) for run in random)


def test_what_init_writes_is_certified_in_a_table_of_80_columns(here: Path, headrace):
    headrace("node", "init", "my_node")
    ran = headrace("node", "certify", "--kills", "0", "--seed", "1")
    assert ran.code == 0, ran.err
    assert "✔ my-node: certified" in ran.out
    assert "seed      1; 3 records, 0 failed" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80
    rows = {
        line[: line.index("  ")]: line.split()[-5:]
        for line in ran.out.splitlines()
        if line.startswith(tuple(BOUNDARIES))
    }
    assert set(rows) == set(BOUNDARIES)
    assert rows["after output"][1:] == ["1", "output", "the", "same"]
    assert "the same; 409" in ran.out


def test_a_node_that_writes_twice_what_it_takes_twice_is_found_out(here: Path, headrace):
    write(here, "appends", APPENDS)
    code, found = certified(headrace, "appends.py", "--kills", "0")
    assert (code, found["certified"], found["reason"]) == (1, False, "different")
    wrong = {run["planned"][0]: run["differences"] for run in found["runs"] if not run["same"]}
    assert list(wrong) == ["held before position 6"]
    metadata, file = wrong["held before position 6"]
    assert (metadata["what"], metadata["where"], metadata["expected"]) == ("metadata", "/lines", 10)
    assert (file["what"], file["where"]) == ("file", "file://{data}/{run}/appends/own.txt")
    assert file["expected"]["bytes"] == 20 < file["found"]["bytes"]


def test_what_differs_is_told_with_the_command_that_does_it_again(here: Path, headrace):
    write(here, "appends", APPENDS)
    ran = headrace("node", "certify", "appends.py", "--kills", "0", "--seed", "5")
    assert ran.code == 1
    assert "✘ appends: not certified: after a kill it gave something else" in ran.out
    assert "metadata /lines: 10 was expected, and it is 11" in ran.out
    assert "again     headrace node certify appends.py --kills 0 --seed 5" in ran.out


def test_a_node_that_gives_something_else_each_time_is_told_so_before_anything_is_killed(
    here: Path, headrace
):
    write(here, "dice", DICE)
    code, found = certified(headrace, "dice.py")
    assert (code, found["reason"], found["runs"]) == (1, "nondeterministic", [])
    assert [(each["what"], each["where"]) for each in found["unlike"]] == [("metadata", "/thrown")]
    assert "two unharmed runs gave different things" in headrace("node", "certify", "dice.py").out


def test_a_node_that_fails_unharmed_has_nothing_to_be_compared_with(here: Path, headrace):
    write(here, "careful", CAREFUL, CAREFUL_SAMPLE.replace("0.5", "0"))
    ran = headrace("node", "certify", "careful.py")
    assert ran.code == 1
    assert "the unharmed run did not succeed" in " ".join(ran.out.split())
    assert "1 of 20 records failed" in ran.out


def test_any_program_that_speaks_the_protocol_is_certified_by_its_manifest(here: Path, headrace):
    (here / "speaks.py").write_text(SPEAKS)
    manifest = program(here, "speaks", "{python}", "-I", "-S", str(here / "speaks.py"), "nothing")
    code, found = certified(headrace, manifest, "--kills", "2", "--seed", "2")
    assert (code, found["certified"], found["protocol"]) == (0, True, True)
    assert found["metadata"] == {"count": 6, "restarted": False}
    [held] = [run for run in found["runs"] if run["fence"]]
    assert held["resumed"] == [{"step": "configure", "seq": 2}]
    assert held["fence"]["refused"]


def test_a_call_of_several_steps_is_cut_at_the_step_where_the_process_dies(here: Path, headrace):
    (here / "speaks.py").write_text(SPEAKS)
    manifest = program(here, "speaks", "{python}", "-I", "-S", str(here / "speaks.py"), "tells")
    code, found = certified(headrace, manifest, "--kills", "0")
    assert (code, found["reason"]) == (1, "different")
    unlike = [run["planned"][0] for run in found["runs"] if not run["same"]]
    after_output = {"after output", "before finalize", "after finalize"}
    assert unlike == [text for text in [*BOUNDARIES, "held before position 3"]
                      if text not in after_output | {"before configure"}]  # fmt: skip
    after_execute = next(run for run in found["runs"] if run["planned"] == ["after execute"])
    assert after_execute["resumed"] == [{"step": "execute", "seq": 6}]


def test_a_program_that_goes_on_after_it_was_refused_is_found_out(here: Path, headrace):
    (here / "speaks.py").write_text(SPEAKS)
    manifest = program(here, "speaks", "{python}", "-I", "-S", str(here / "speaks.py"), "goes on")
    code, found = certified(headrace, manifest, "--kills", "0")
    assert (code, found["reason"]) == (1, "not_fenced")
    [held] = [run for run in found["runs"] if not run["same"]]
    assert held["fence"]["refused"]
    assert held["differences"][0]["found"] == "it went on after the 409"


def test_a_program_without_the_protocol_is_killed_at_random_and_begins_anew(here: Path, headrace):
    script = "d=${HEADRACE_DATA_URI#file:}/$HEADRACE_RUN_ID; mkdir -p $d; echo x $HEADRACE_RUN_ID > $d/own; sleep 0.6; "
    script += """printf '{"uri": "file:%s"}' $d/own > $HEADRACE_OUTPUT"""
    code, found = certified(
        headrace, program(here, "shell", "/bin/sh", "-c", script), "--kills", "2", "--seed", "3"
    )
    assert (code, found["certified"], found["protocol"]) == (0, True, False)
    assert list(found["files"]) == ["file:{data}/{run}/own"]
    assert [run["processes"] for run in found["runs"]] == [2, 2]


def test_runs_side_by_side_do_not_keep_the_api_from_answering(here: Path, headrace, monkeypatch):
    monkeypatch.setattr(verdict, "AT_A_TIME", 12)
    code, found = certified(headrace, program(here, "many", "sleep", "0.5"), "--kills", "12", "--seed", "1")
    assert code == 0
    assert len(found["runs"]) == 12


def test_a_program_that_adds_to_what_it_left_is_found_out(here: Path, headrace):
    script = "d=${HEADRACE_DATA_URI#file:}/$HEADRACE_RUN_ID; mkdir -p $d; echo x >> $d/own; sleep 1; "
    script += """printf '{"lines": %s}' $(grep -c x $d/own) > $HEADRACE_OUTPUT"""
    code, found = certified(
        headrace, program(here, "adds", "/bin/sh", "-c", script), "--kills", "1", "--seed", "3"
    )
    assert (code, found["reason"]) == (1, "different")
    [run] = found["runs"]
    assert run["differences"] == [{"what": "metadata", "where": "/lines", "expected": 1, "found": 2}]


def test_kept_data_and_logs_lie_where_they_are_wanted(here: Path, headrace):
    write(here, "dice", DICE)
    _, found = certified(headrace, "dice.py", "--keep", "kept")
    assert found["reason"] == "nondeterministic"
    assert len(list((here / "kept" / "logs").glob("*/dice.1.0.log"))) == 2
    again = headrace("node", "certify", "dice.py", "--keep", "kept")
    assert again.code == 2
    assert "kept is not empty" in again.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.py"], "cannot read nowhere.sample.yaml"),
        (["odd.py"], "holds no subclass of headrace.Node"),
        (["odd.json"], "odd.json is no manifest of a node type: name"),
        (["odd.py", "--image", "some/image"], "not both"),
        (["careful.py", "--sample", "bad.yaml"], "the sample's 'config' must be an object"),
        (["careful.py", "--sample", "named.yaml"], "/nodes/Before"),
        ([], "holds no subclass"),
    ],
)
def test_wrong_usage_says_what_and_where(here: Path, headrace, arguments: list[str], says: str):
    write(here, "odd", "x = 1\n")
    write(here, "careful", CAREFUL, CAREFUL_SAMPLE)
    (here / "careful.sample.yaml").rename(here / "kept.yaml") if not arguments else None
    (here / "odd.json").write_text('{"name": "Odd Name"}')
    (here / "bad.yaml").write_text("config: [1]\n")
    (here / "named.yaml").write_text("{config: {count: 1}, inputs: {Before: {}}}\n")
    ran = headrace("node", "certify", *arguments)
    assert ran.code == 2, ran.out
    assert says in ran.err


def test_a_program_that_is_not_there_is_wrong_usage(here: Path, headrace):
    ran = headrace("node", "certify", program(here, "absent", str(here / "absent")))
    assert ran.code == 2
    assert "the manifest's command names it" in " ".join(ran.err.split())


def test_a_program_that_does_not_end_is_given_up(here: Path, headrace):
    code, found = certified(headrace, program(here, "hangs", "sleep", "600"), "--limit", "1")
    assert (code, found["reason"], found["status"]) == (1, "failed", "unfinished")
    assert "--limit" in found["error"]


def test_nothing_of_it_is_left_running(here: Path, headrace):
    (here / "speaks.py").write_text(SPEAKS)
    manifest = program(here, "tidy", "{python}", "-I", "-S", str(here / "speaks.py"), "goes on")
    certified(headrace, manifest, "--kills", "0")
    left = [path for path in Path("/proc").glob("[0-9]*/environ") if b"HEADRACE_NODE=tidy" in _content(path)]
    assert left == []


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
