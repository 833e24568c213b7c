"""A workflow document as typed objects: reading it with every problem named, its canonical form, its JSON Schema.

`parse_workflow` judges what each field may hold; what only makes sense together (edges, expressions, node types) is
judged by app.core.validate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_core import SchemaValidator

from app.core.pointers import Problems, pointer, suggest
from app.core.schemas import apply_params
from app.core.spec_fields import NODE_NAME_PATTERN, Duration, Maybe, NodeName, Object, Part, ShortText, Text
from app.core.spec_fields import WorkflowName as Name
from app.core.spec_nodes import KINDS, Defaults, Node
from app.core.spec_problems import add_problems, clean, name_problem
from app.core.spec_triggers import TRIGGERS, Trigger
from app.errors import InvalidInput

MAX_NODES = 200_000
DIALECT = "https://json-schema.org/draft/2020-12/schema"
NO_POOLS = ("workflow", "approval", "wait")
"""Kinds of nodes that hold no slot, so that pools on them are an error."""


class Concurrency(Part):
    """How many runs with the same key are live at a time, and what happens to one too many."""

    key: Maybe[Annotated[ShortText, Field(title="Key", description="May hold expressions over params")]] = (
        None
    )
    max: Annotated[int, Field(ge=1, le=1_000_000, title="Runs at once")]
    on_limit: Maybe[
        Annotated[
            Literal["queue", "reject", "cancel_running"],
            Field(title="At the limit", description="Default queue"),
        ]
    ] = None
    max_queued: Maybe[Annotated[int, Field(ge=0, le=1_000_000, title="Queued at most")]] = None


class Head(Part):
    """A workflow document without its nodes."""

    name: Annotated[Name, Field(title="Name")]
    description: Maybe[Annotated[Text, Field(title="Description")]] = None
    params: Maybe[
        Annotated[Object, Field(title="Params", description="JSON Schema of what a trigger brings")]
    ] = None
    concurrency: Maybe[Annotated[Concurrency, Field(title="Concurrency")]] = None
    timeout: Maybe[Annotated[Duration, Field(title="Timeout", description="Of the whole run")]] = None
    on_failure: Maybe[
        Annotated[
            Literal["continue", "fail"],
            Field(
                title="On failure",
                description="continue (default): independent branches finish; fail: stop at the first failure",
            ),
        ]
    ] = None
    retention: Maybe[
        Annotated[Duration, Field(title="Retention", description="How long a finished run is kept")]
    ] = None
    defaults: Maybe[Annotated[Defaults, Field(title="Defaults", description="Policies of every node")]] = None
    output: Maybe[
        Annotated[Object, Field(title="Output", description="The run's own metadata; may hold expressions")]
    ] = None
    triggers: Maybe[Annotated[list[Trigger], Field(max_length=100, title="Triggers")]] = None


class Workflow(Head):
    """A workflow: a graph of nodes, what it takes, and what starts it."""

    nodes: Annotated[
        dict[NodeName, Node],
        Field(min_length=1, title="Nodes", description="The nodes of the graph by their names"),
    ]

    def canonical(self) -> dict[str, Any]:
        """The document as plain JSON in one canonical form: the same content gives the same bytes.

        Fields stand in a fixed order, nodes in the order of the document; what is left out stays left out, and an
        upstream node or a pool without anything to add is just its name.
        """
        document = _plain(self, leave_out="nodes")
        document["nodes"] = {name: _plain_node(node) for name, node in self.nodes.items()}
        return document


def parse_workflow(raw: object) -> Workflow:
    """Read a document that was JSON or YAML. Raises InvalidInput with up to 50 places."""
    problems = Problems()
    if not isinstance(raw, Mapping):
        raise InvalidInput("the workflow is not valid", problems_at_root())
    clean(raw, problems)
    _refuse(problems)
    head = _head(raw, problems)
    nodes = _nodes(raw.get("nodes"), problems) if "nodes" in raw else {}
    _refuse(problems)
    assert head is not None
    return Workflow.model_construct(head.model_fields_set | {"nodes"}, **head.__dict__, nodes=nodes)


def problems_at_root() -> list[Any]:
    """The place of a document that is no object."""
    problems = Problems()
    problems.add("", "a workflow is an object")
    return problems.places


def _refuse(problems: Problems) -> None:
    problems.raise_if_any("the workflow is not valid")


def _head(raw: Mapping[str, Any], problems: Problems) -> Head | None:
    fields = {key: value for key, value in raw.items() if key != "nodes"}
    head: Head | None = None
    if len(fields) > 4 * len(Head.model_fields):
        _too_many(fields, Head, "", problems)
    else:
        try:
            head = Head.model_validate(fields)
        except ValidationError as error:
            add_problems(error, fields, (), Workflow, problems)
    if "nodes" not in raw:
        problems.add("", "the field 'nodes' is required")
    triggers = fields.get("triggers")
    if isinstance(triggers, list):
        for index, trigger in enumerate(triggers):
            _exactly_one(trigger, TRIGGERS, pointer("triggers", index), "a trigger", problems)
    return head


def _nodes(raw: Any, problems: Problems) -> dict[str, Node]:
    if not isinstance(raw, Mapping) or not raw:
        problems.add("/nodes", "there must be at least one node, by its name: {name: {type: ...}}")
        return {}
    if len(raw) > MAX_NODES:
        problems.add("/nodes", f"a workflow has at most {MAX_NODES:,} nodes, this one has {len(raw):,}")
        return {}
    validate: SchemaValidator = Node.__pydantic_validator__  # pyright: ignore[reportAssignmentType]
    nodes: dict[str, Node] = {}
    for name, fields in raw.items():
        if complaint := name_problem(name):
            problems.add(pointer("nodes", name), complaint)
        if isinstance(fields, Mapping) and len(fields) > 4 * len(Node.model_fields):
            _too_many(fields, Node, pointer("nodes", name), problems)
        else:
            try:
                nodes[name] = validate.validate_python(fields)
            except ValidationError as error:
                add_problems(error, fields, ("nodes", name), Node, problems)
        if isinstance(fields, Mapping):
            _node_kind(fields, name, problems)
        if problems.full:
            break
    return nodes


def _node_kind(fields: Mapping[str, Any], name: str, problems: Problems) -> None:
    if sum(kind in fields for kind in KINDS) != 1:
        _exactly_one(fields, KINDS, pointer("nodes", name), "a node", problems)
    elif "pools" in fields and any(kind in fields for kind in NO_POOLS):
        kind = next(kind for kind in NO_POOLS if kind in fields)
        problems.add(
            pointer("nodes", name, "pools"), f"a node with '{kind}' holds no slot, so it has no pools"
        )


def _exactly_one(value: Any, fields: tuple[str, ...], at: str, what: str, problems: Problems) -> None:
    if not isinstance(value, Mapping):
        return
    found = [name for name in fields if name in value]
    if len(found) != 1:
        has = f"; this one has {' and '.join(found)}" if found else ""
        problems.add(at, f"{what} is exactly one of {', '.join(fields)}{has}")


def _too_many(fields: Mapping[str, Any], model: type[Part], at: str, problems: Problems) -> None:
    for name in fields:
        if name not in model.model_fields:
            problems.add(
                f"{at}{pointer(name)}", f"unknown field '{name[:100]}'{suggest(name, model.model_fields)}"
            )
        if problems.full:
            return


def _plain_node(node: Node) -> dict[str, Any]:
    fields = _plain(node)
    for name, inner in (("needs", "node"), ("pools", "name")):
        if name in fields:
            fields[name] = [
                entry[inner] if isinstance(entry, dict) and entry.keys() == {inner} else entry
                for entry in fields[name]
            ]
            if not fields[name]:
                del fields[name]
    return fields


def _plain(value: Any, leave_out: str = "") -> Any:
    if isinstance(value, Part):
        present = value.model_fields_set
        plain = {
            name: _plain(getattr(value, name))
            for name in type(value).model_fields
            if name in present and name != leave_out
        }
        return plain | (value.model_extra or {})
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def workflow_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a workflow document, with titles and descriptions for a form."""
    schema = Workflow.model_json_schema()
    for part in _parts(schema):
        if "default" in part and part["default"] is None:
            del part["default"]
    definitions = schema["$defs"]
    definitions["Node"]["oneOf"] = [{"required": [kind], "title": kind.capitalize()} for kind in KINDS]
    definitions["Node"]["not"] = {
        "required": ["pools"], "anyOf": [{"required": [kind]} for kind in NO_POOLS],
    }  # fmt: skip
    definitions["Trigger"]["oneOf"] = [{"required": [kind], "title": kind.capitalize()} for kind in TRIGGERS]
    definitions["Wait"]["oneOf"] = [{"required": ["duration"]}, {"required": ["until"]}]
    nodes = schema["properties"]["nodes"]
    nodes.pop("patternProperties", None)
    nodes |= {
        "additionalProperties": {"$ref": "#/$defs/Node"},
        "propertyNames": {"pattern": NODE_NAME_PATTERN},
        "maxProperties": MAX_NODES,
    }
    return {"$schema": DIALECT, **schema}


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _parts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _parts(item)


__all__ = ["Node", "Workflow", "apply_params", "parse_workflow", "workflow_schema"]
