"""Every workflow printed in the documentation is published and run, and ends as its page says."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.spec import parse_workflow
from app.core.validate import check
from app.nodetypes_files import NodeTypeFiles
from app.settings import Settings
from tests.docs.examples import EXAMPLES, PAGES, WORDS, Example, documents, read
from tests.docs.place import Place


@pytest.mark.parametrize("example", [pytest.param(example, id=example.id) for example in EXAMPLES])
def test_the_example_ends_as_its_page_says(place: Place, example: Example):
    for other in read(example.page):
        if other.line < example.line and other.status == "published":
            place.publish(other.document)
    place.publish(example.document)
    if example.status == "published":
        return
    run = place.fire(example.document["name"], example.json("params"))
    if "once" in example.words:
        act(place, run, example)
    ended = place.ended(run)
    nodes = {
        node["name"]: (node["status"], node.get("error")) for node in place.get(f"/runs/{run}/nodes")["items"]
    }
    assert ended["status"] == example.status, nodes
    if "output" in example.words:
        assert ended["output"] == example.json("output")
    if "again" in example.words:
        answer = place.http.post(f"/runs/{run}{example.words['again']}", json=example.json("with") or {})
        assert answer.is_success, answer.text
        assert place.ended(answer.json()["run"])["status"] == example.words["ends"]
    types = {node.get("type", "noop") for node in example.document["nodes"].values()}
    assert (example.words.get("executor") == "process") == (types != {"noop"}), "say executor=process"


def act(place: Place, run: str, example: Example) -> None:
    """Wait for what `once` names, and post what the example says."""
    node, _, status = example.words["once"].partition(":")

    def there() -> bool | None:
        return True if place.get(f"/runs/{run}/nodes/{node}")["status"] == status else None

    place.until(there, lambda: f"{node} is {status}: {place.get(f'/runs/{run}/nodes')}")
    answer = place.http.post(f"/runs/{run}{example.words['post']}", json=example.json("body") or {})
    assert answer.is_success, answer.text


@pytest.mark.parametrize(
    "document", [pytest.param(document, id=name) for page in PAGES for name, document in documents(page)]
)
def test_the_document_is_valid_with_the_node_types_that_headrace_dev_has(document: dict[str, Any]):
    types = NodeTypeFiles.load(Settings()).types.values()
    catalog = {each.name: each for each in types} | {f"{each.name}@{each.version}": each for each in types}
    check(parse_workflow(document), catalog)


def test_every_fence_of_a_workflow_says_how_it_ends():
    fences = sum(page.read_text("utf-8").count("```yaml workflow") for page in PAGES)
    assert fences == len(EXAMPLES)
    assert {word for example in EXAMPLES for word in example.words} <= set(WORDS)
