"""What `headrace node init` writes; <module>, <type>, <title> and <class> are replaced."""

from __future__ import annotations

from typing import Final

FILES: Final = {
    ".py": '''"""<type>: say here what it is for."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from headrace import Context, Node, Results, Stream


class <class>(Node):
    """Say here in one line what it does"""

    type = "<type>"
    title = "<title>"
    category = "Own"

    class Config(BaseModel):
        uri: str = Field(title="Data", description="Where the records come from")
        percent: float = Field(0, ge=-100, le=1000, title="Change in percent")

    class Metadata(BaseModel):
        uri: str
        count: int

    def configure(self, ctx: Context) -> Stream:
        """The stream of records: the same one whenever it runs again."""
        return ctx.open(ctx.config.uri)

    def execute(self, ctx: Context, record: dict[str, Any]) -> dict[str, Any]:
        """One record. An exception fails this record alone."""
        return {**record, "price": round(record["price"] * (1 + ctx.config.percent / 100), 2)}

    def output(self, ctx: Context, results: Results) -> Metadata:
        """All that other nodes get to see."""
        return self.Metadata(uri=results.uri, count=results.count)


if __name__ == "__main__":
    <class>.main()
''',
    ".sample.yaml": """# What `headrace node test` runs <module>.py on. Files are looked up beside this one.
config: {uri: "file:<module>.sample.ndjson", percent: 5}
inputs: {}          # the metadata of nodes before it, by their names
expect: {count: 3}  # members that its metadata must have
""",
    ".sample.ndjson": """{"id": "kettle", "price": 100}
{"id": "lamp", "price": 40}
{"id": "chair", "price": 75.5}
""",
}
"""Suffix of a file -> its text."""
