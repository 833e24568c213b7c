"""`headrace node certify`: kill a node at every boundary of its steps and at random places; demand the same output."""

from __future__ import annotations

import asyncio
import secrets
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group

from app.cli.commands.nodes import AUTHOR, SAMPLE, ask_author, nodes_here
from app.cli.documents import read_object
from app.cli.output import EXIT_FAILED, Format, Output, Quiet, emit
from app.errors import UsageError
from app.settings import Settings

if TYPE_CHECKING:
    from app.cli.certify.subject import Sample, Subject
    from app.cli.certify.verdict import Verdict, Wanted

MOST_SEEDS = 2**32


def certify(
    node: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE[:CLASS]|MANIFEST.json]", help="By default every node here that has a sample."
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Certify an image, on a container engine.")
    ] = None,
    sample: Annotated[
        str | None, typer.Option("--sample", metavar="FILE", help="By default NAME.sample.yaml beside it.")
    ] = None,
    kills: Annotated[int, typer.Option(min=0, max=10_000, help="Runs with kills at random places.")] = 8,
    seed: Annotated[
        int | None, typer.Option(min=0, max=MOST_SEEDS - 1, help="Of the random places; to repeat a run.")
    ] = None,
    limit: Annotated[float, typer.Option(min=1, help="Seconds that one run may take.")] = 600,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", file_okay=False, help="Keep the data and the logs of all runs there."),
    ] = None,
    output: Output = Format.TABLE,
    quiet: Quiet = False,
) -> None:
    """Kill a node's processes (kill -9) around each step and at random places; exit 1 unless its output stays the same."""
    from app.cli.certify.verdict import Wanted
    from app.cli.certify.view import view

    if image is not None and node is not None:
        raise UsageError("name a file or an --image, not both")
    wanted = Wanted(
        kills, secrets.randbelow(MOST_SEEDS) if seed is None else seed, limit, keep=keep is not None
    )
    subjects = [_image(image, sample)] if image else [_subject(each, sample) for each in [node] if each]
    subjects = subjects or [_subject(each, sample) for each in nodes_here()]
    found = [_certified(subject, wanted, keep, whole=len(subjects) == 1) for subject in subjects]
    again = _again(node, image, sample, wanted)
    told = [each.told() for each in found]
    emit(told[0] if node or image else {"items": told}, output,
         lambda: Group(*(view(each, again) for each in found)), quiet=quiet,
         ids=[each.name for each in found if each.reason is None])  # fmt: skip
    if any(each.reason is not None for each in found):
        raise typer.Exit(EXIT_FAILED)


def _again(node: str | None, image: str | None, sample: str | None, wanted: Wanted) -> str:
    words = ["headrace", "node", "certify", *([node] if node else []), *(["--image", image] if image else [])]
    words += ["--sample", sample] if sample else []
    return shlex.join([*words, "--kills", str(wanted.kills), "--seed", str(wanted.seed)])


def _sample(given: str | None, beside: Path | None) -> Sample:
    """The sample that is named, else the one beside a node; an empty one where there is no node to lie beside."""
    from app.cli.certify.subject import sample_of

    path = given if given is not None else str(beside) if beside is not None else None
    document: dict[str, Any] = {} if path is None else read_object(path)
    return sample_of(document, Path(path or ".").parent)


def _subject(ref: str, given: str | None) -> Subject:
    from app.cli.certify.subject import Subject, manifest_of

    path = Path(ref.partition(":")[0])
    beside = path.with_name(path.stem + SAMPLE)
    if path.suffix == ".json":
        document = read_object(ref)
        kind = manifest_of(document, ref)
        command = [part.replace("{python}", sys.executable) for part in kind.command or []]
        beside_it = beside if given is None and beside.exists() else None
        sample = _sample(given, beside_it) if given or beside_it else _sample(None, None)
        image = None if kind.command else kind.image
        return Subject(kind, image, command, paced=False, sample=sample)
    sample = _sample(given, beside)
    name = ref.partition(":")[2]
    file = f"{path.resolve()}:{name}" if name else str(path.resolve())
    command = [sys.executable, "-m", AUTHOR, "run", file]
    kind = manifest_of({**ask_author(["manifest", file]), "command": command}, ref)
    return Subject(kind, None, command, paced=True, sample=sample)


def _image(image: str, given: str | None) -> Subject:
    from app.cli.certify.subject import Subject

    return Subject(None, image, [], paced=False, sample=_sample(given, None))


def _certified(subject: Subject, wanted: Wanted, keep: Path | None, *, whole: bool) -> Verdict:
    """Certify one node, in a directory that goes away unless it is to be kept."""
    if keep is not None:
        if keep.exists() and any(keep.iterdir()):
            raise UsageError(f"{keep} is not empty: --keep names a directory that is made, or an empty one")
        return asyncio.run(_run(subject, wanted, (keep if whole else keep / subject.node).resolve()))
    with tempfile.TemporaryDirectory(prefix="headrace-certify-") as scratch:
        return asyncio.run(_run(subject, wanted, Path(scratch).resolve()))


async def _run(subject: Subject, wanted: Wanted, root: Path) -> Verdict:
    from app.cli.certify.containers import Containers
    from app.cli.certify.engine import Place, engine
    from app.cli.certify.programs import Processes, Programs
    from app.cli.certify.verdict import certify as certify_node

    place = Place(root)
    if subject.image:
        programs: Programs = Containers(subject, place.data, place.logs, Settings())
    else:
        programs = Processes(subject.command, place.logs, paced=subject.paced)
    async with engine(place, subject, programs) as bench:
        return await certify_node(bench, place, wanted)
