"""What whoever writes a node does with its file: `python -m headrace.author run|manifest|test FILE[:CLASS]`.

    run       the node as a process that the engine started; with `--every N` a position after every N records, each
              checkpoint in a call of its own
    manifest  its entry for the catalog of node types, as JSON
    test      its four steps on a sample (JSON on stdin), and again with a crash at each of several places; a report as JSON

Exit codes of manifest and test: 0, or 2 with the reason on stderr where the file holds no such node.
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.node import Node
    from headrace.testing import Outcome

SHOWN = 3
"""Records that a report shows."""
STEPS = ("configure", "execute", "output", "finalize")
USAGE = "usage: python -m headrace.author run|manifest|test FILE[:CLASS] [ROOT] [--no-kills] [--every N]\n"


class NoNode(Exception):
    """The file cannot be read, or holds no such node."""


def load(ref: str) -> type[Node]:
    """The Node class of FILE or FILE:CLASS. Raises NoNode."""
    name, _, wanted = ref.rpartition(":") if ref.rpartition(":")[0] else (ref, "", "")
    path = Path(name).resolve()
    if not path.is_file():
        raise NoNode(f"there is no file {name}")
    from headrace.node import Node

    module = _module(path)
    found = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Node)
        and value.__module__ == module.__name__
        and value.type
    }
    if wanted:
        found = {key: value for key, value in found.items() if key == wanted}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        choice = ", ".join(f"{path.name}:{key}" for key in sorted(found))
        raise NoNode(f"{path.name} holds several nodes; name one: {choice}")
    raise NoNode(f"{path.name} holds no {wanted or 'subclass of headrace.Node with a type'}")


def _module(path: Path) -> Any:
    """The file as a module of its name; what lies beside it can be imported. Errors of its own code come through."""
    sys.path.insert(0, str(path.parent))
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise NoNode(f"{path.name} is no Python file")
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def report(node: type[Node], sample: dict[str, Any], root: Path, kills: bool) -> dict[str, Any]:
    """What came of the four steps on a sample; with `kills` also of lives that ended in between.

    `sample` may have config, inputs, item, tolerate and expect; its file: URIs are looked up below `root`.
    """
    import tempfile

    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        calm = _run(node, sample, root, Path(scratch) / "calm", [])
        found = _shown(node, calm)
        expected = sample.get("expect")
        metadata = found["metadata"] if isinstance(found["metadata"], dict) else {}
        found["unexpected"] = [
            {"member": key, "expected": value, "found": metadata.get(key)}
            for key, value in (expected or {}).items()
            if metadata.get(key) != value
        ]
        found["kills"] = []
        if kills and calm.exit_code == 0:
            for at in _places(calm):
                killed = _run(node, sample, root, Path(scratch) / f"at-{at}", [at])
                same = _told(killed) == _told(calm) and killed.exit_code == 0
                found["kills"].append({"at": at, "died": killed.crashes > 0, "same": same})
        return found


def _run(node: type[Node], sample: dict[str, Any], root: Path, data: Path, kills: list[int | str]) -> Outcome:
    from headrace.testing import run_node

    data.mkdir()
    return run_node(
        node,
        config=sample.get("config"),
        inputs=sample.get("inputs"),
        item=sample.get("item"),
        tolerate=float(sample.get("tolerate", 0)),
        data_dir=data,
        data_roots=[root],
        kill_at=kills,
        run_id="sample",
    )


def _places(calm: Outcome) -> list[int | str]:
    """Where a life ends: after each step, and at the first, the middle and the last record."""
    total = len(calm.records) + len(calm.failed)
    records = sorted({0, total // 2, total - 1}) if total else []
    return [*records, *STEPS]


def _told(outcome: Outcome) -> tuple[Any, Any, Any]:
    """What must be the same however often the process died: metadata, results, failed records."""
    top = str(outcome.data_dir.parent.parent)
    metadata = repr(outcome.metadata).replace(top, "")
    return metadata, outcome.digest, [entry["index"] for entry in outcome.failed]


def _shown(node: type[Node], outcome: Outcome) -> dict[str, Any]:
    return {
        "type": node.type,
        "exit_code": outcome.exit_code,
        "metadata": outcome.metadata,
        "count": len(outcome.records),
        "records": outcome.records[:SHOWN],
        "failed": outcome.failed,
        "error": outcome.error,
    }


def _run_closely(node: type[Node], rest: list[str]) -> int:
    from headrace.process import run
    from headrace.testing import with_positions

    if not rest or not rest[0].isdigit() or int(rest[0]) < 1:
        sys.stderr.write(f"--every takes a number of records, 1 or more\n{USAGE}")
        return 2
    return run(with_positions(node, int(rest[0])), hold=0)


def main(arguments: list[str]) -> int:
    """The command; its exit code."""
    if len(arguments) < 2 or arguments[0] not in ("run", "manifest", "test"):
        sys.stderr.write(USAGE)
        return 2
    try:
        node = load(arguments[1])
        if arguments[0] == "run":
            if "--every" not in arguments:
                node.main()
            return _run_closely(node, arguments[arguments.index("--every") + 1 :])
        import orjson

        if arguments[0] == "manifest":
            found = node.manifest()
        else:
            sample = orjson.loads(sys.stdin.buffer.read() or b"{}")
            root = Path(arguments[2] if len(arguments) > 2 else ".")
            found = report(node, sample, root, "--no-kills" not in arguments)
    except NoNode as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.buffer.write(orjson.dumps(found, default=str) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
