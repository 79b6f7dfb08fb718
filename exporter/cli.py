"""``inference-exporter``: the command line."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from exporter.config_file import load_config
from exporter.errors import InferenceExporterError
from exporter.version import __version__

EXIT_BAD_INPUT = 2

app = typer.Typer(
    name="inference-exporter",
    help="A Prometheus exporter for what a machine-learning model does in production.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="YAML configuration file.")]


@app.command()
def sidecar(
    upstream: Annotated[
        str | None, typer.Option(help="The service: http://HOST:PORT or unix:/path. Wins over the file.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option(help="Where clients connect: HOST:PORT or unix:/path.")
    ] = None,
    admin: Annotated[str | None, typer.Option(help="Where /metrics and health are: HOST:PORT.")] = None,
    config: ConfigOption = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run in front of an HTTP inference service: bytes pass unchanged, metrics come out."""
    overrides: dict[str, Any] = {}
    section = {key: value for key, value in (("upstream", upstream), ("listen", listen)) if value is not None}
    if section:
        overrides["sidecar"] = section
    if admin is not None:
        overrides["admin"] = {"listen": admin}
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    from exporter.sidecar import run

    run(load_config(config, overrides=overrides), config)


@app.command("check-config")
def check_config(
    config: Annotated[Path, typer.Argument(help="YAML configuration file.")],
    *,
    files: Annotated[bool, typer.Option(help="Also read the references that it names.")] = True,
) -> None:
    """Check a configuration file; exit code 2 and one line for each mistake if it has any."""
    loaded = load_config(config)
    if files:
        from exporter.detectors import check_detector

        for entry in loaded.drift:
            check_detector(entry)
    typer.echo(f"{config}: ok, model {loaded.model}, {len(loaded.drift)} detector(s)")


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
