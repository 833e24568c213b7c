"""JSON Schema: which schemas are accepted, compiled validators kept by content, and defaults filled in.

A schema comes from a user, so it may not reach out (a `$ref` stays inside the document), not hang (patterns run on an
engine without backtracking, and references cannot multiply) and not recurse.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jsonschema_rs
import orjson

from app.core.cel_values import weigh
from app.core.pointers import Problems, pointer
from app.errors import InvalidInput, Place

MAX_SCHEMA_BYTES = 256 * 1024
MAX_EXPANDED = 20_000
"""Subschemas of a schema with every reference written out; without a limit 40 references can make 2**40."""
MAX_OBJECT_OPTIONS = 100
"""Objects and lists in one enum: they are compared one by one, texts and numbers are looked up."""
MAX_EXPLAINED = 2_000
"""Elements of a value up to which all its violations are sought."""
DRAFTS = re.compile(
    r"https?://json-schema\.org/(draft/2020-12|draft/2019-09|draft-07|draft-06|draft-04)/schema#?"
)
REFUSED = ("$dynamicRef", "$recursiveRef", "$id", "id", "$anchor", "$dynamicAnchor", "$vocabulary")
_SUBSCHEMAS = (
    "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not",
    "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_MAPS = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions", "dependencies")
_DEPENDS = frozenset({"if", "then", "else", "anyOf", "oneOf", "not", "dependentSchemas", "contains"})
_MAX_DETAIL = 300


def check_schema(schema: Mapping[str, Any], at: str = "") -> list[Place]:
    """What is wrong with a JSON Schema found at the pointer `at`; an empty list when it can be used."""
    try:
        if len(orjson.dumps(schema)) > MAX_SCHEMA_BYTES:
            return [Place(at, "a schema is at most 256 KiB")]
    except orjson.JSONEncodeError:
        return [Place(at, "a schema is JSON, nested at most 200 deep")]
    problems = Problems()
    draft = schema.get("$schema")
    if draft is not None and not (isinstance(draft, str) and DRAFTS.fullmatch(draft)):
        problems.add(
            f"{at}/$schema", "only the published drafts of JSON Schema are known; leave it out for 2020-12"
        )
        return problems.places
    _check_parts(schema, at, problems)
    if not problems:
        try:
            _compile(orjson.dumps(schema))
        except jsonschema_rs.ValidationError as error:
            problems.add(at + pointer(*error.instance_path), f"not valid JSON Schema: {_text(error)}")
        except ValueError:
            problems.add(at, "not valid JSON Schema, or nested too deeply")
    return problems.places


def validator(schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    """The compiled validator of a checked schema, kept by content. Raises InvalidInput for one that does not compile."""
    try:
        return _compile(orjson.dumps(schema))
    except ValueError:
        raise InvalidInput("the schema is not valid") from None


@lru_cache(maxsize=128)
def _compile(source: bytes) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(
        orjson.loads(source),
        validate_formats=True,
        offline=True,
        mask="the value",
        pattern_options=jsonschema_rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 20),
    )


class Violation(NamedTuple):
    """One violation of a schema. `structural`: about which fields there are; `depends`: below if, anyOf and the like."""

    path: tuple[str | int, ...]
    place: Place
    structural: bool
    depends: bool


def violations(compiled: jsonschema_rs.Validator, instance: Any, at: str) -> Iterator[Violation]:
    """Each violation, with its place below the pointer `at`; of a large value only the first one, since the library
    writes down all of them at once, each with the alternatives it missed."""
    try:
        if compiled.is_valid(instance):
            return
        errors = (
            compiled.iter_errors(instance) if weigh(instance) <= MAX_EXPLAINED else _first(compiled, instance)
        )
        for error in errors:
            yield from _violations(error, at)
    except ValueError:
        yield Violation(
            (), Place(at, "the value is not JSON, or nested too deeply"), structural=True, depends=False
        )


def _first(compiled: jsonschema_rs.Validator, instance: Any) -> list[jsonschema_rs.ValidationError]:
    try:
        compiled.validate(instance)
    except jsonschema_rs.ValidationError as error:
        return [error]
    return []


def _violations(error: jsonschema_rs.ValidationError, at: str) -> Iterator[Violation]:
    path = tuple(error.instance_path)
    depends = not _DEPENDS.isdisjoint(error.schema_path)
    here = at + pointer(*path)
    match error.kind:
        case jsonschema_rs.ValidationErrorKind.AdditionalProperties(unexpected=names):
            for name in names:
                place = Place(here + pointer(name), f"unknown field '{name[:100]}'")
                yield Violation(path, place, structural=True, depends=depends)
        case jsonschema_rs.ValidationErrorKind.Required(property=name):
            place = Place(here, f"the field '{name}' is required")
            yield Violation(path, place, structural=True, depends=depends)
        case _:
            yield Violation(path, Place(here, _text(error)), structural=False, depends=depends)


def _text(error: jsonschema_rs.ValidationError) -> str:
    return error.message.splitlines()[0][:_MAX_DETAIL]


def check_config(compiled: jsonschema_rs.Validator, config: Mapping[str, Any], at: str) -> list[Place]:
    """What is wrong with a node's configuration, apart from what depends on values that are expressions."""
    templates = list(_templates(config, ()))
    problems = Problems()
    for found in violations(compiled, config, at):
        if not (templates and _depends_on(found, templates)):
            problems.add(*found.place)
        if problems.full:
            break
    return problems.places


def _templates(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, str):
        if "${{" in value:
            yield path
    elif isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _templates(item, (*path, key))


def _depends_on(found: Violation, templates: list[tuple[str | int, ...]]) -> bool:
    """Whether a violation may be owed to a value that is not known yet: at it, inside it, or judging what holds it."""
    if found.depends:
        return True
    if found.structural:
        return False
    path = found.path
    return any(path[: len(other)] == other or other[: len(path)] == path for other in templates)


def check_defaults(schema: Mapping[str, Any], at: str) -> list[Place]:
    """The top-level defaults of a checked schema that do not fit it."""
    problems = Problems()
    defaults = fill_defaults(schema, {})
    for found in violations(validator(schema), defaults, at):
        if found.path:
            name = found.path[0]
            problems.add(f"{at}{pointer('properties', name, 'default')}", found.place.detail)
    return problems.places


def apply_params(schema: Mapping[str, Any] | None, params: Any) -> dict[str, Any]:
    """The params of a run: defaults filled in, then validated. Raises InvalidInput with places below /params."""
    if not isinstance(params, Mapping):
        raise InvalidInput("the params do not fit the workflow", [Place("/params", "must be an object")])
    if schema is None:
        return dict(params)
    filled = fill_defaults(schema, params)
    problems = Problems()
    for found in violations(validator(schema), filled, "/params"):
        problems.add(*found.place)
        if problems.full:
            break
    problems.raise_if_any("the params do not fit the workflow")
    return filled


def fill_defaults(schema: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `params` with the `default` of each absent property, also inside objects that are there."""
    return _fill(schema, schema, params, 0)


def _fill(
    root: Mapping[str, Any], schema: Mapping[str, Any], values: Mapping[str, Any], depth: int
) -> dict[str, Any]:
    filled = dict(values)
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or depth > 32:
        return filled
    for name, declared in properties.items():
        subschema = _resolve(root, declared)
        if not isinstance(subschema, Mapping):
            continue
        own = declared if isinstance(declared, Mapping) and "default" in declared else subschema
        if name not in filled and "default" in own:
            filled[name] = copy.deepcopy(own["default"])
        if isinstance(filled.get(name), Mapping):
            filled[name] = _fill(root, subschema, filled[name], depth + 1)
    return filled


def _resolve(root: Mapping[str, Any], schema: Any) -> Any:
    """Follow `$ref` inside the document; None when it leads nowhere."""
    for _ in range(32):
        if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
            return schema
        schema = _target(root, schema["$ref"])
    return None


def _target(root: Any, reference: str) -> Any:
    if reference == "#":
        return root
    value = root
    for part in reference.removeprefix("#/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~").replace("%25", "%")
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _check_parts(schema: Mapping[str, Any], at: str, problems: Problems) -> None:
    """Refuse references that leave the document, lead nowhere, recurse, or multiply, and long enums of objects."""
    for path, subschema in _walk(schema, at):
        for keyword in REFUSED:
            if keyword in subschema and isinstance(subschema[keyword], (str, dict)):
                problems.add(f"{path}/{keyword}", f"'{keyword}' is not allowed in a schema here")
        if isinstance(options := subschema.get("enum"), list):
            many = sum(isinstance(option, (dict, list)) for option in options)
            if many > MAX_OBJECT_OPTIONS:
                problems.add(
                    f"{path}/enum", f"at most {MAX_OBJECT_OPTIONS} objects or lists can be in an enum"
                )
        reference = subschema.get("$ref")
        if reference is None:
            continue
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            problems.add(f"{path}/$ref", "a $ref must stay inside the document: #/$defs/NAME")
        elif not isinstance(_target(schema, reference), (dict, bool)):
            problems.add(f"{path}/$ref", "the $ref leads nowhere")
    if not problems and (fault := _Expansion(schema).fault()):
        problems.add(at, fault)


def _children(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword in _SUBSCHEMAS:
        if isinstance(schema.get(keyword), Mapping):
            yield f"/{keyword}", schema[keyword]
    for keyword in _LISTS:
        if isinstance(schema.get(keyword), list):
            yield from ((f"/{keyword}/{index}", item) for index, item in enumerate(schema[keyword]))
    for keyword in _MAPS:
        if isinstance(schema.get(keyword), Mapping):
            yield from ((pointer(keyword, name), item) for name, item in schema[keyword].items())


def _walk(schema: Mapping[str, Any], at: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    waiting: list[tuple[str, Any]] = [(at, schema)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, Mapping):
            yield path, item
            waiting.extend((path + step, child) for step, child in _children(item))


class _Expansion:
    """Counts the subschemas of a schema with every reference written out."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.sizes: dict[int, int] = {}
        self.open: set[int] = set()

    def fault(self) -> str | None:
        """Why the schema is refused, or None."""
        try:
            size = self._size(self.root, 0)
        except RecursionError:
            return "a schema cannot refer to itself, nor be nested more than 200 deep"
        return "its references multiply to too many subschemas" if size > MAX_EXPANDED else None

    def _size(self, schema: Any, depth: int) -> int:
        if not isinstance(schema, Mapping):
            return 1
        key = id(schema)
        if key in self.sizes:
            return self.sizes[key]
        if key in self.open or depth > 200:
            raise RecursionError
        self.open.add(key)
        size = 1 + sum(self._size(child, depth + 1) for _, child in _children(schema))
        if isinstance(schema.get("$ref"), str):
            size += self._size(_target(self.root, schema["$ref"]), depth + 1)
        self.open.discard(key)
        self.sizes[key] = size
        return size
