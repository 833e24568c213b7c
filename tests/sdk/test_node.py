"""What a node's author declares and returns, and what the engine hears of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from headrace import Context, Fatal, Node, Results, Retry, SourceError
from headrace.testing import run_node


class Reprice(Node):
    """Changes prices"""

    type = "catalog-reprice"
    version = 2
    category = "Catalog"

    class Config(BaseModel):
        percent: float = Field(0, ge=-100, le=1000, title="Change in percent")

    class Metadata(BaseModel):
        uri: str
        count: int

    def configure(self, ctx: Context) -> Any:
        return ctx.open(ctx.item["uri"])

    def execute(self, ctx: Context, record: Any) -> Any:
        return {**record, "price": record["price"] * (1 + ctx.config.percent / 100)}

    def output(self, ctx: Context, results: Results) -> Metadata:
        return self.Metadata(uri=results.uri, count=results.count)


def test_the_manifest_is_what_the_catalog_reads() -> None:
    manifest = Reprice.manifest()
    assert manifest["config_schema"]["properties"]["percent"]["title"] == "Change in percent"
    assert manifest["metadata_schema"]["required"] == ["uri", "count"]
    del manifest["config_schema"], manifest["metadata_schema"]
    assert manifest == {
        "name": "catalog-reprice",
        "version": 2,
        "title": "Catalog reprice",
        "icon": "box",
        "category": "Catalog",
        "description": "Changes prices",
        "command": ["{python}", "-m", Reprice.__module__],
        "resources": {},
    }


def test_a_node_without_a_type_has_no_manifest() -> None:
    class Nameless(Node):
        pass

    with pytest.raises(TypeError, match=r"Nameless\.type is not set"):
        Nameless.manifest()


def test_the_config_is_validated_and_its_values_are_not_repeated(tmp_path: Path) -> None:
    outcome = run_node(Reprice, config={"percent": -77777}, data_dir=tmp_path)
    assert outcome.exit_code == 42
    assert outcome.error == {
        "type": "Fatal",
        "message": "invalid config: percent: Input should be greater than or equal to -100",
        "retryable": False,
    }


def test_a_map_item_is_repriced(tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_text('{"price":100}\n{"price":200}\n')
    outcome = run_node(
        Reprice, config={"percent": 5}, item={"uri": "file:in.ndjson"}, index=4, data_dir=tmp_path
    )
    assert outcome.metadata == {"uri": f"file://{outcome.data_dir}/manifest.json", "count": 2}
    assert outcome.data_dir == tmp_path / "run-test" / "catalog_reprice" / "4"
    assert outcome.records == [{"price": 105.0}, {"price": 210.0}]


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (Fatal("no"), 42, False),
        (Retry("later"), 1, True),
        (OSError("disk"), 1, True),
        (SourceError("net"), 1, True),
    ],
)
@pytest.mark.parametrize("step", ["configure", "execute", "output"])
def test_errors_of_the_whole_node_decide_about_a_retry(
    tmp_path: Path, step: str, error: Exception, code: int, retryable: bool
) -> None:
    def fail(self: Node, ctx: Context, *rest: Any) -> Any:
        raise error

    failing = type("Failing", (Node,), {"type": "failing", step: fail})
    outcome = run_node(failing, data_dir=tmp_path)
    assert outcome.error is not None
    if step == "execute" and not isinstance(error, Fatal | Retry):
        assert outcome.error["type"] == "too_many_failed_records"
        assert outcome.failed[0]["type"] == type(error).__name__
    else:
        assert (outcome.exit_code, outcome.error["retryable"]) == (code, retryable)
        assert (outcome.error["type"], outcome.error["message"]) == (type(error).__name__, str(error))


def test_a_retry_in_execute_goes_on_at_the_record_that_asked_for_it(tmp_path: Path) -> None:
    closed = [True]

    class Shop(Node):
        type = "shop"

        def configure(self, ctx: Context) -> Any:
            return range(10)

        def execute(self, ctx: Context, record: int) -> Any:
            if record == 7 and closed:
                closed.clear()
                raise Retry("the shop is closed")
            return {"n": record, "attempt": ctx.attempt}

    outcome = run_node(Shop, data_dir=tmp_path, attempts=2)
    assert outcome.exit_code == 0
    assert [record["attempt"] for record in outcome.records] == [1] * 7 + [2] * 3


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        ("text", "must return the Metadata model or a dict, not str"),
        ({"x": object()}, "the metadata is not JSON"),
        ({"x": "y" * 300_000}, "at most 262144 fit"),
    ],
)
def test_metadata_that_the_engine_would_refuse_fails_clearly(
    tmp_path: Path, returned: Any, problem: str
) -> None:
    class Wrong(Node):
        type = "wrong"

        def output(self, ctx: Context, results: Results) -> Any:
            return returned

    outcome = run_node(Wrong, data_dir=tmp_path)
    assert outcome.exit_code == 42
    assert outcome.error is not None
    assert problem in outcome.error["message"]


def test_a_dict_is_checked_against_the_metadata_model(tmp_path: Path) -> None:
    class Loose(Reprice):
        def configure(self, ctx: Context) -> Any:
            return []

        def output(self, ctx: Context, results: Results) -> Any:
            return {"uri": results.uri}

    outcome = run_node(Loose, data_dir=tmp_path)
    assert outcome.error is not None
    assert "count: Field required" in outcome.error["message"]


@pytest.mark.parametrize("returned", ["file:feed.ndjson", {"a": 1}, 7])
def test_configure_must_return_a_stream(tmp_path: Path, returned: Any) -> None:
    class Wrong(Node):
        type = "wrong"

        def configure(self, ctx: Context) -> Any:
            return returned

    outcome = run_node(Wrong, data_dir=tmp_path)
    assert outcome.exit_code == 42


def test_without_a_stream_execute_gets_one_empty_record(tmp_path: Path) -> None:
    class Once(Node):
        type = "once"

        def execute(self, ctx: Context, record: Any) -> Any:
            return {"got": record}

    assert run_node(Once, data_dir=tmp_path).records == [{"got": {}}]


def test_what_execute_returns_is_none_one_or_several_records(tmp_path: Path) -> None:
    class Model(BaseModel):
        n: int

    class Shapes(Node):
        type = "shapes"

        def configure(self, ctx: Context) -> Any:
            return range(6)

        def execute(self, ctx: Context, record: int) -> Any:
            return [None, {"n": 1}, [{"n": 2}, {"n": 3}], [], ({"n": n} for n in (4, 5)), Model(n=6)][record]

    assert [record["n"] for record in run_node(Shapes, data_dir=tmp_path).records] == [1, 2, 3, 4, 5, 6]


def test_an_empty_result_still_has_a_uri_that_can_be_opened(tmp_path: Path) -> None:
    class Nothing(Reprice):
        def configure(self, ctx: Context) -> Any:
            return []

        def output(self, ctx: Context, results: Results) -> Any:
            assert list(results) == []
            return super().output(ctx, results)

    outcome = run_node(Nothing, data_dir=tmp_path)
    assert outcome.metadata["count"] == 0
    assert Path(outcome.metadata["uri"].removeprefix("file://")).exists()


def test_inputs_are_fetched_when_they_are_read_and_only_then(tmp_path: Path) -> None:
    class Reader(Node):
        type = "reader"

        def output(self, ctx: Context, results: Results) -> Any:
            return {"names": sorted(ctx.inputs), "big": ctx.inputs["big"], "small": ctx.inputs["small"]}

    outcome = run_node(
        Reader,
        inputs={"small": {"n": 1}, "big": {"$href": "/big"}, "unread": {"$href": "/none"}},
        references={"/big": {"n": 2}},
        data_dir=tmp_path,
    )
    assert outcome.metadata == {"names": ["big", "small", "unread"], "big": {"n": 2}, "small": {"n": 1}}


@pytest.mark.parametrize(
    "items",
    [
        [{"n": 1}, {"n": 2}, None, {"n": 3}],
        {"$href": "/pages"},
    ],
)
def test_the_items_of_a_map_are_iterated_alike_inline_and_by_reference(tmp_path: Path, items: Any) -> None:
    class Collect(Node):
        type = "collect"

        def configure(self, ctx: Context) -> Any:
            assert len(ctx.inputs["map"]["items"]) == 4
            assert [*ctx.inputs["map"]["items"]] == [*ctx.items("map")]
            return ctx.items("map")

        def execute(self, ctx: Context, record: Any) -> Any:
            return record or "failed"

    references = {
        "/pages": {"items": [{"n": 1}, {"n": 2}], "next_cursor": "c2"},
        "/pages?cursor=c2": {"items": [None, {"n": 3}], "next_cursor": None},
    }
    outcome = run_node(
        Collect, inputs={"map": {"count": 4, "items": items}}, references=references, data_dir=tmp_path
    )
    assert outcome.records == [{"n": 1}, {"n": 2}, "failed", {"n": 3}]


def test_a_large_map_is_read_page_by_page_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    class Sum(Node):
        type = "sum"

        def output(self, ctx: Context, results: Any) -> Any:
            items = ctx.inputs["map"]["items"]
            return {
                "sum": sum(item["n"] for item in items),
                "first": next(iter(items))["n"],
                "count": len(items),
            }

    pages = {f"/p?cursor={n}" if n else "/p": {"items": [{"n": n}], "next_cursor": str(n + 1) if n < 99 else None}
             for n in range(100)}  # fmt: skip
    inputs = {"map": {"count": 100, "items": {"$href": "/p"}}}
    outcome = run_node(Sum, inputs=inputs, references=pages, data_dir=tmp_path)
    assert outcome.metadata == {"sum": 4950, "first": 0, "count": 100}
    fetched = [href for name, href in outcome.engine.calls if name == "fetch"]
    assert fetched == [*pages, "/p"], "each page once an iteration, and no more than was asked for"


def test_a_side_file_lies_at_the_same_place_in_every_attempt(tmp_path: Path) -> None:
    class Writer(Node):
        type = "writer"

        def output(self, ctx: Context, results: Results) -> Any:
            with (tmp_path / "source").open("rb") as source:
                return {"a": ctx.write_file("images/a.png", b"png"), "b": ctx.write_file("b.bin", source)}

    (tmp_path / "source").write_bytes(b"x" * 3_000_000)
    metadata = run_node(Writer, data_dir=tmp_path, kill_at="output").metadata
    assert metadata["a"] == f"file://{tmp_path}/run-test/writer/files/images/a.png"
    assert Path(metadata["b"].removeprefix("file://")).stat().st_size == 3_000_000
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a.png", "b.bin", "source"]


@pytest.mark.parametrize("name", ["../x", "/x", "a/../x", "", ".hidden", "a//b", "a\0"])
def test_a_side_file_cannot_leave_its_directory(tmp_path: Path, name: str) -> None:
    class Escape(Node):
        type = "escape"

        def output(self, ctx: Context, results: Results) -> Any:
            return {"uri": ctx.write_file(name, b"")}

    assert run_node(Escape, data_dir=tmp_path).exit_code == 42


def test_progress_is_shown_with_the_position(tmp_path: Path) -> None:
    class Slow(Node):
        type = "slow"

        def configure(self, ctx: Context) -> Any:
            return range(10)

        def execute(self, ctx: Context, record: int) -> None:
            if ctx.config.get("own"):
                ctx.progress(record * 100, 1000)

    for config, expected in (({}, {"done": 10, "total": 10}), ({"own": True}, {"done": 900, "total": 1000})):
        engine = run_node(Slow, config=config, data_dir=tmp_path).engine
        entries = [e for name, body in engine.calls if name == "checkpoints" for e in body["steps"]]
        assert [entry["progress"] for entry in entries if "progress" in entry][-1] == expected


def test_state_that_is_too_large_or_not_json_fails_clearly(tmp_path: Path) -> None:
    class Hoarder(Node):
        type = "hoarder"

        def execute(self, ctx: Context, record: Any) -> None:
            ctx.state["all"] = ctx.config.get("value", object())

    for config, problem in (({"value": "x" * 20_000}, "larger than 16384"), ({}, "not JSON")):
        outcome = run_node(Hoarder, config=config, data_dir=tmp_path)
        assert outcome.exit_code == 42
        assert outcome.error is not None
        assert problem in outcome.error["message"]


def test_the_log_goes_to_a_standard_logger(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Talker(Node):
        type = "talker"

        def output(self, ctx: Context, results: Results) -> Any:
            ctx.log.warning("watch out")

    with caplog.at_level(logging.INFO):
        run_node(Talker, data_dir=tmp_path)
    assert ("headrace.node.talker", logging.WARNING, "watch out") in caplog.record_tuples
