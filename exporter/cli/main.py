"""``inference-exporter``: the command line."""

from __future__ import annotations

import logging
import os
import sys

import typer

from exporter.cli import register
from exporter.errors import InferenceExporterError
from exporter.version import __version__

EXIT_BAD_INPUT = 2

log = logging.getLogger(__name__)

app = typer.Typer(
    name="inference-exporter",
    help="A Prometheus exporter for what a machine-learning model does in production.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
register(app)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"inference-exporter {__version__}")


def main() -> None:
    """Run the command line; mistakes of the user are one line each, without a traceback."""
    try:
        app()
    except InferenceExporterError as error:
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
        sys.exit(EXIT_BAD_INPUT)
    except OSError as error:
        log.debug("%s", error, exc_info=True)
        typer.echo(f"error: {_of_the_system(error)}", err=True)
        sys.exit(EXIT_BAD_INPUT)


def _of_the_system(error: OSError) -> str:
    """What the system refused, to a path if it was one."""
    reason = error.strerror or str(error)
    if error.filename is None:
        return reason
    return f"{os.fsdecode(error.filename)}: {reason}; give another path, or make this one fit for use"
