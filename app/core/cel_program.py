"""Runs CEL: compiles lazily, bounds the work before it starts, and turns whatever goes wrong into one clear sentence.

CEL's own `map` and `filter` copy their result once per element, which makes 100,000 elements a matter of minutes.
So each macro is taken out of the source, becomes a call of a function of ours, and walks its list here; its body is a
program of its own. CEL still decides whether the macro is evaluated at all (`a && b`, `a ? b : c`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import cel
import jsonschema_rs

from app.core.cel_source import TYPES, Analysis, Macro, analyse
from app.core.cel_values import Missing, json_value, lookup, prune, text_value, weigh
from app.core.effort import WORK, Work
from app.errors import ExpressionError

PER_ELEMENT = 100
"""Units that one round of a macro costs whatever it does."""
PER_SOURCE_BYTE = 300
"""Units of a byte of source: it may have to be compiled."""
PER_RESULT = 10
"""Units of an element of a result: CEL gives a copy."""
_PROGRAMS = 4_096
MOST_PATTERN = 1_000_000
"""Units of the worst pattern there is: a larger one is refused as it is compiled."""
_REPEATED = re.compile(r"\{(\d{1,9})(?:,(\d{0,9}))?\}")
_POSITION = re.compile(r"<input>:(\d+):(\d+)")


class Program:
    """One compiled piece of CEL: an expression, or the body of a macro with its variable."""

    __slots__ = ("analysis", "bodies", "compiled", "needs_functions", "size", "variable")

    def __init__(self, source: str, variable: str | None) -> None:
        self.size = len(source)
        self.variable = variable
        self.analysis: Analysis = analyse(source, frozenset({variable}) if variable else frozenset())
        self.compiled = _compile(_rewrite(source, self.analysis))
        self._compare()
        self.bodies = [
            [program(body, macro.variable) for body in macro.arguments] for macro in self.analysis.macros
        ]
        self.needs_functions = bool(self.analysis.macros or self.analysis.calls)

    def _compare(self) -> None:
        """The compiler must see the same variables as our reader did, or a read could go unnoticed."""
        seen = set(self.compiled.variables()) - TYPES
        known = {path[0] for path in self.analysis.outer}
        if not known <= seen <= known | {self.variable}:
            raise ExpressionError("the expression could not be understood; write it more simply")

    def run(self, env: Mapping[str, Any]) -> Any:
        """The value as CEL gives it. Raises ExpressionError without a place."""
        work: Work = env.get(WORK) or Work()
        work.spend(PER_SOURCE_BYTE * self.size + self.cost(env))
        return self.bind(self.context(env), env, work)()

    def context(self, env: Mapping[str, Any]) -> cel.Context:
        """A context with just the variables that are read. Raises ExpressionError for values that are not JSON."""
        try:
            return cel.Context(variables=prune(env, self.analysis.outer))
        except ValueError:
            raise ExpressionError("a value that it reads is not JSON") from None

    def cost(self, env: Mapping[str, Any]) -> int:
        """An upper bound of the work apart from macros, which is paid as they run."""
        units = 0
        for path in self.analysis.outer:
            try:
                units += weigh(lookup(env, path))
            except Missing:
                units += 1
        return units * (1 + self.analysis.additions)

    def bind(self, context: cel.Context, env: Mapping[str, Any], work: Work) -> Callable[[], Any]:
        """What evaluates this program in `context` as often as wanted. It raises ExpressionError."""
        faults: list[ExpressionError] = []
        if self.needs_functions:
            for name, function in self._functions(env, work, faults).items():
                context.add_function(name, function)
        execute = self.compiled.execute

        def run() -> Any:
            try:
                result = execute(context)
            except BaseException as error:
                if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
                    raise
                fault = faults.pop() if faults else explain(error, self.analysis, env)
                raise fault from None
            if faults:
                raise faults.pop()
            work.spend(PER_RESULT * weigh(result))
            return result

        return run

    def _functions(
        self, env: Mapping[str, Any], work: Work, faults: list[ExpressionError]
    ) -> dict[str, Callable[..., Any]]:
        """The functions of ours. They never raise (the library prints what they raise) but leave it in `faults`."""

        def guarded(function: Callable[..., Any], otherwise: Any) -> Callable[..., Any]:
            def call(*values: Any) -> Any:
                if faults:
                    return otherwise
                try:
                    return function(*values)
                except ExpressionError as error:
                    faults.append(error)
                    return otherwise

            return call

        functions = {"string_": guarded(_string, ""), "matches_": guarded(Matching(work), False)}
        for index, macro in enumerate(self.analysis.macros):
            walk = Walk(macro, self.bodies[index], env, work)
            functions[f"macro_{index}"] = guarded(walk, [] if macro.kind in ("map", "filter") else False)
        return functions


class Walk:
    """One macro over one list, or over the keys of a map in their order (CEL itself keeps none)."""

    __slots__ = ("bodies", "env", "macro", "work")

    def __init__(self, macro: Macro, bodies: list[Program], env: Mapping[str, Any], work: Work) -> None:
        self.macro = macro
        self.bodies = bodies
        self.env = env
        self.work = work

    def __call__(self, values: Any) -> Any:
        if not isinstance(values, (list, dict)):
            raise ExpressionError(f"'{self.macro.kind}' needs a list or a map")
        elements: list[Any] = values if isinstance(values, list) else sorted(values, key=str)
        self._pay(elements)
        steps = [self._step(body) for body in self.bodies]
        match self.macro.kind:
            case "map":
                kept = elements if len(steps) == 1 else [item for item in elements if _truth(steps[0](item))]
                return [steps[-1](item) for item in kept]
            case "filter":
                return [item for item in elements if _truth(steps[0](item))]
            case "exists_one":
                return sum(_truth(steps[0](item)) for item in elements) == 1
            case kind:
                return self._any_is(kind == "exists", steps[0], elements) == (kind == "exists")

    def _step(self, body: Program) -> Callable[[Any], Any]:
        context = body.context(self.env)
        run = body.bind(context, self.env, self.work)
        bind, variable = context.add_variable, self.macro.variable

        def step(element: Any) -> Any:
            bind(variable, element)
            return run()

        return step

    def _pay(self, elements: list[Any]) -> None:
        list_units = weigh(elements)
        for body in self.bodies:
            factor = 1 + body.analysis.additions
            self.work.spend(len(elements) * (PER_ELEMENT + body.cost(self.env)))
            self.work.spend(list_units * (1 + body.analysis.bound) * factor)

    def _any_is(self, wanted: bool, step: Callable[[Any], Any], elements: list[Any]) -> bool:
        """Whether any element gives `wanted`; as in CEL, an error counts only when no element decides."""
        fault: ExpressionError | None = None
        for element in elements:
            try:
                if _truth(step(element)) is wanted:
                    return True
            except ExpressionError as error:
                if self.work.left < 0:
                    raise
                fault = fault or error
        if fault is not None:
            raise fault
        return False


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ExpressionError("the condition of a macro must be true or false")
    return value


@lru_cache(maxsize=_PROGRAMS)
def program(source: str, variable: str | None = None) -> Program:
    """The compiled program of a source, cached. Raises ExpressionError for a syntax error."""
    return Program(source, variable)


def _compile(source: str) -> cel.Program:
    try:
        return cel.compile(source)
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
            raise
        found = _POSITION.search(str(error))
        where = f" at line {found[1]}, column {found[2]}" if found else ""
        raise ExpressionError(f"not valid CEL: syntax error{where}") from None


def _rewrite(source: str, analysis: Analysis) -> str:
    """The source as it is compiled: macros, `string` and `matches` replaced by calls of functions of ours."""
    changes = [(*macro.span, f"macro_{index}()") for index, macro in enumerate(analysis.macros)]
    changes += [
        (at, at + len(name), f"{name}_") for name, at in analysis.calls if name in ("string", "matches")
    ]
    parts: list[str] = []
    done = 0
    for start, end, text in sorted(changes):
        parts += [source[done:start], text]
        done = end
    return "".join([*parts, source[done:]])


def _string(value: Any) -> str:
    """CEL's `string()`, which also takes booleans, null, lists and maps."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return text_value(json_value(value))


@lru_cache(maxsize=1_024)
def _pattern(pattern: str) -> jsonschema_rs.Validator:
    options = jsonschema_rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 20)
    try:
        return jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=options, offline=True)
    except ValueError:
        raise ExpressionError("'matches' got a pattern that is not valid or too large") from None


def pattern_cost(pattern: str) -> int:
    """Units that compiling a pattern takes at most: what a repetition repeats is compiled that often."""
    units = 5_000 + 150 * len(pattern) + 10_000 * pattern.count("\\")
    for low, high in _REPEATED.findall(pattern):
        units *= int(high or low or 1) or 1
        if units >= MOST_PATTERN:
            break
    return min(units, MOST_PATTERN)


class Matching:
    """CEL's `matches()` by a regex engine that takes linear time; compiled once a pattern instead of at each call."""

    __slots__ = ("known", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.known: set[str] = set()

    def __call__(self, text: Any, pattern: Any) -> bool:
        if not isinstance(text, str) or not isinstance(pattern, str):
            raise ExpressionError("'matches' needs two texts")
        if pattern not in self.known:
            self.work.spend(pattern_cost(pattern))
            self.known.add(pattern)
        return _pattern(pattern).is_valid(text)


def explain(error: BaseException, analysis: Analysis, env: Mapping[str, Any]) -> ExpressionError:
    """One sentence of ours for whatever CEL raised; names the value that does not exist, if that was it."""
    if isinstance(error, KeyError):
        key = str(error.args[0]).strip("'") if error.args else ""
        return _missing(_blame(key, analysis, env) or f"'{key[:200]}'")
    if isinstance(error, IndexError):
        return ExpressionError("an index is out of bounds")
    if isinstance(error, ZeroDivisionError):
        return ExpressionError("division by zero")
    if isinstance(error, OverflowError):
        return ExpressionError("a number is outside the range of its type")
    if missing := _blame(None, analysis, env):
        return _missing(missing)
    if isinstance(error, TypeError):
        return ExpressionError(
            "the types do not go together: convert one side (int and double do not mix: double(x), 1.0)"
        )
    return ExpressionError(
        "the expression could not be evaluated: a function got a value that it cannot take"
    )


def _missing(what: str) -> ExpressionError:
    return ExpressionError(f"{what} does not exist", missing=what)


def _blame(key: str | None, analysis: Analysis, env: Mapping[str, Any]) -> str | None:
    for path in analysis.outer:
        try:
            lookup(env, path)
        except Missing as missing:
            if key is None or missing.dotted.rpartition(".")[2] == key:
                return missing.dotted
    return None
