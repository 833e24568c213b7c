"""The `headrace` command.

Exit codes: 0 success, 1 a run failed, 2 wrong usage or an invalid document, 3 anything else, 130 interrupted.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import typer
from pydantic import ValidationError

from app.cli.commands import backups, certify, control, doctor, nodes, others, parts, pools, runs, workflows
from app.cli.output import EXIT_INTERRUPTED, show_error
from app.errors import HeadraceError, UsageError

app = typer.Typer(
    name="headrace",
    help="A workflow orchestrator on Redis: durable, checkpointed, one command to start.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
SERVE, WRITE = "Start", "Write nodes"
ASK = "Use (HEADRACE_URL and HEADRACE_API_KEY, else the dev of this directory)"

app.command(rich_help_panel=SERVE)(parts.dev)
app.command(rich_help_panel=SERVE)(parts.server)
app.command(rich_help_panel=SERVE)(parts.worker)
app.command(rich_help_panel=SERVE)(parts.listener)
app.command(rich_help_panel=SERVE)(doctor.doctor)
app.command(rich_help_panel=SERVE)(backups.backup)
app.command(rich_help_panel=SERVE)(backups.restore)
app.command(rich_help_panel=SERVE)(parts.version)
for act in (control.cancel, control.pause, control.resume, control.retry, control.fork):
    runs.app.command()(act)
workflows.app.command("pause")(control.pause_workflow)
workflows.app.command("resume")(control.resume_workflow)
app.add_typer(workflows.app, name="workflow", rich_help_panel=ASK)
app.command("why", rich_help_panel=ASK)(runs.why)
app.add_typer(runs.app, name="run", rich_help_panel=ASK)
app.add_typer(others.triggers, name="trigger", rich_help_panel=ASK)
app.add_typer(others.hooks, name="hook", rich_help_panel=ASK)
app.add_typer(others.keys, name="key", rich_help_panel=ASK)
app.add_typer(pools.app, name="pool", rich_help_panel=ASK)
app.add_typer(others.node_types, name="node-type", rich_help_panel=ASK)
nodes.app.command("certify")(certify.certify)
app.add_typer(nodes.app, name="node", rich_help_panel=WRITE)


def run() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say; errors of ours become a message and an exit code, never a traceback."""
    try:
        app(args=list(arguments), prog_name="headrace")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except HeadraceError as error:
        return show_error(error)
    except ValidationError as error:
        return show_error(_bad_settings(error))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _bad_settings(error: ValidationError) -> HeadraceError:
    names = ", ".join("HEADRACE_" + "_".join(str(part) for part in e["loc"]).upper() for e in error.errors())
    return UsageError(f"these settings have no valid value: {names}; `headrace doctor` lists them all")


if __name__ == "__main__":
    run()
