"""The examples of the documentation: every fence whose info string is `yaml workflow status=...`.

    ```yaml workflow status=succeeded params={"brand":"fjellro"}

| word | says |
|---|---|
| status=STATUS | how the run ends; `published`: it is only published |
| params={...} | the params of the run, JSON |
| output={...} | the output of the run, JSON |
| nodes={NODE: STATUS} | how some of its node runs end, JSON |
| executor=process | its nodes are processes: it takes seconds, not milliseconds |
| once=NODE:STATUS | wait until that node run has that status, then |
| post=PATH | POST to /runs/{run}PATH |
| body={...} | with this body |
| again=PATH | once it ended, POST to /runs/{run}PATH |
| with={...} | with this body |
| ends=STATUS | how the run ends that this makes |
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs" / "reference").glob("*.md")))
STATUSES = ("published", "succeeded", "failed", "cancelled")
WORDS = ("status", "params", "output", "nodes", "executor", "once", "post", "body", "again", "with", "ends")
FENCE = re.compile(r"^```yaml workflow([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

ANY_FENCE = re.compile(r"^```(?:yaml|json)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WORD = re.compile(r"\s+(?=[a-z]+=)")


@dataclass(slots=True, frozen=True)
class Example:
    """One fence: its page, the line it begins at, the words of its info string, the document."""

    page: Path
    line: int
    words: dict[str, str]
    text: str

    @property
    def id(self) -> str:
        """`page:line`, as an editor opens it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def status(self) -> str:
        return self.words["status"]

    @property
    def document(self) -> dict[str, Any]:
        return yaml.safe_load(self.text)

    def json(self, word: str) -> Any:
        """The value of a word as JSON, None where the word is missing."""
        return json.loads(self.words[word]) if word in self.words else None


def documents(page: Path) -> list[tuple[str, dict[str, Any]]]:
    """(`page:line`, document) of what a page prints as YAML or JSON and has nodes: every workflow, run by tests or not."""
    text = page.read_text("utf-8")
    found = [
        (text.count("\n", 0, fence.start()) + 1, yaml.safe_load(fence[1]))
        for fence in ANY_FENCE.finditer(text)
    ]
    return [
        (f"{page.relative_to(ROOT)}:{line}", document)
        for line, document in found
        if isinstance(document, dict) and "nodes" in document
    ]


def read(page: Path) -> list[Example]:
    """The examples of a page in their order. Raises ValueError for an info string that makes no sense."""
    text = page.read_text("utf-8")
    found: list[Example] = []
    for fence in FENCE.finditer(text):
        line = text.count("\n", 0, fence.start()) + 1
        words = {word.partition("=")[0]: word.partition("=")[2] for word in WORD.split(fence[1].strip())}
        unknown = words.keys() - set(WORDS)
        if unknown or words.get("status") not in STATUSES:
            raise ValueError(f"{page}:{line}: the info string is not understood: {fence[1]}")
        found.append(Example(page, line, words, fence[2]))
    return found


EXAMPLES = [example for page in PAGES for example in read(page)]
