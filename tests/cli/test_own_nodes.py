"""`headrace node`: a node of one's own is begun, tried without a server, and put into the catalog."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FORGETFUL = '''
from headrace import Node


class Forgetful(Node):
    """Counts on itself, which dies with its process"""

    type = "forgetful"

    def configure(self, ctx):
        self.seen = 0
        return [{"n": n} for n in range(20)]

    def execute(self, ctx, record):
        self.seen += 1
        return {"seen": self.seen}
'''


def test_what_init_writes_runs_and_survives_every_crash(here: Path, headrace):
    assert headrace("node", "init", "my_node").code == 0
    ran = headrace("node", "test")
    assert ran.code == 0, ran.err
    assert "my-node: 3 records, 0 failed" in ran.out
    places = ("record 0", "record 1", "record 2", "configure", "execute", "output", "finalize")
    assert [place for place in places if place not in ran.out] == []
    assert "ANOTHER" not in ran.out


def test_init_writes_over_nothing(here: Path, headrace):
    (here / "my_node.sample.yaml").write_text("mine")
    assert headrace("node", "init", "my_node").code == 2
    assert [path.name for path in here.iterdir()] == ["my_node.sample.yaml"]


@pytest.mark.parametrize("name", ["My-Node", "1st", "", "a b", "../up"])
def test_a_node_needs_a_name_of_its_kind(here: Path, headrace, name: str):
    assert headrace("node", "init", name).code == 2
    assert list(here.iterdir()) == []


def test_a_node_that_counts_on_itself_is_found_out(here: Path, headrace):
    (here / "forgetful.py").write_text(FORGETFUL)
    (here / "forgetful.sample.yaml").write_text("{}")
    ran = headrace("node", "test", "forgetful.py", "-o", "json")
    found: dict[str, Any] = json.loads(ran.out)
    assert ran.code == 1
    assert found["exit_code"] == 0
    assert {kill["at"] for kill in found["kills"] if not kill["same"]} == {10, 19}


def test_metadata_that_the_sample_does_not_expect_fails(here: Path, headrace):
    headrace("node", "init", "my_node")
    (here / "my_node.sample.ndjson").write_text('{"id": "kettle", "price": 100}\n')
    ran = headrace("node", "test", "--no-kills")
    assert ran.code == 1
    assert "expected  count: 3, but it is 1" in ran.out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n", "holds no subclass"),
        ("raise OSError('broken here')\n", "broken here"),
        ("def\n", "SyntaxError"),
    ],
)
def test_a_file_without_a_node_is_wrong_usage(here: Path, headrace, text: str, says: str):
    (here / "odd.py").write_text(text)
    (here / "types").mkdir()
    ran = headrace("node", "register", "odd.py", "--to", "types")
    assert ran.code == 2
    assert says in ran.err
    assert list((here / "types").iterdir()) == []


def test_of_several_nodes_in_a_file_one_is_named(here: Path, headrace):
    (here / "two.py").write_text(
        FORGETFUL + FORGETFUL.replace("Forgetful", "Other").replace("forgetful", "other")
    )
    (here / "types").mkdir()
    assert "two.py:Forgetful, two.py:Other" in headrace("node", "register", "two.py", "--to", "types").err
    assert headrace("node", "register", "two.py:Other", "--to", "types", "-q").out == "other@1\n"


def test_a_node_is_registered_by_a_file_and_what_changes_is_the_next_version(here: Path, headrace):
    (here / "types").mkdir()
    headrace("node", "init", "my_node")
    register = ("node", "register", "my_node.py", "--to", "types", "-q")
    assert [headrace(*register).out for _ in range(2)] == ["my-node@1\n", "my-node@1\n"]
    source = here / "my_node.py"
    source.write_text(source.read_text().replace("Change in percent", "Change"))
    assert headrace(*register).out == "my-node@2\n"
    first, second = (json.loads((here / f"types/my-node@{n}.json").read_text()) for n in (1, 2))
    titles = [each["config_schema"]["properties"]["percent"]["title"] for each in (first, second)]
    assert titles == ["Change in percent", "Change"]
    assert second["command"] == ["{python}", "-m", "headrace.author", "run", str(source)]


def test_without_a_directory_that_a_server_reads_it_says_what_to_name(here: Path, headrace):
    headrace("node", "init", "my_node")
    ran = headrace("node", "register", "my_node.py")
    assert ran.code == 2
    assert "HEADRACE_NODE_TYPES" in ran.err


def test_a_server_that_does_not_look_there_is_told_of(
    api, here: Path, headrace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HEADRACE_URL", api.url)
    (here / "types").mkdir()
    headrace("node", "init", "my_node")
    ran = headrace("node", "register", "my_node.py", "--to", "types")
    assert ran.code == 2
    assert "does not look there" in ran.err


def test_with_an_image_it_is_registered_over_the_api(
    api, here: Path, headrace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HEADRACE_URL", api.url)
    api.answer("PUT", "/node-types/my-node", {"name": "my-node", "version": 4}, status=201)
    headrace("node", "init", "my_node")
    assert headrace("node", "register", "my_node.py", "--image", "r/my:1", "-q").out == "my-node@4\n"
    body = api.asked[-1].body
    assert body["image"] == "r/my:1"
    assert body["config_schema"]["required"] == ["uri"]
    assert not {"command", "version", "name"} & set(body)
