"""``inference-exporter``: the command line, and those of its commands that are one call."""

from __future__ import annotations

import logging
import os
import re
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from exporter.cli.check_config import check_config
from exporter.cli.explain import explain_threshold
from exporter.cli.fit import fit
from exporter.cli.replay import replay
from exporter.cli.sidecar import sidecar
from exporter.config.loading import load_config
from exporter.errors import ConfigError, InferenceExporterError
from exporter.version import __version__

_ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML configuration file.")]
_Folder = Annotated[Path, typer.Option(help="Folder to write to; made if it is missing.")]
_Saved = Annotated[Path, typer.Argument(help="What alibi-detect's save_detector wrote.")]

_NAME = r"[A-Za-z0-9](?:[-\w.]{0,61}[A-Za-z0-9])?"
_LABEL = re.compile(rf"(?:[a-z0-9][-a-z0-9.]{{0,251}}/)?{_NAME}=(?:{_NAME})?", re.ASCII)

log = logging.getLogger(__name__)

app = typer.Typer(
    name="inference-exporter",
    help="A Prometheus exporter for what a machine-learning model does in production.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class _RuleFormat(str, Enum):
    FILES = "files"
    PROMETHEUSRULE = "prometheusrule"


for _command in (sidecar, fit, replay, explain_threshold, check_config):
    app.command()(_command)


@app.command()
def rules(
    out: _Folder = Path("rules"),
    config: _ConfigFile = None,
    form: Annotated[
        _RuleFormat, typer.Option("--format", help="Rule files, or one resource for the Prometheus operator.")
    ] = _RuleFormat.FILES,
    label: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE: a label of the resource, for the operator's ruleSelector."),
    ] = None,
) -> None:
    """Write Prometheus's and Grafana's alert rules for a configuration."""
    from exporter.mixin import write_prometheus_rule, write_rules

    labels = _labels(label or [], form)
    settings = load_config(config)
    if form is _RuleFormat.PROMETHEUSRULE:
        typer.echo(write_prometheus_rule(settings, out, labels=labels))
        return
    for path in write_rules(settings, out):
        typer.echo(path)


def _labels(given: list[str], form: _RuleFormat) -> dict[str, str]:
    """Read ``KEY=VALUE`` as labels of a Kubernetes resource."""
    if given and form is not _RuleFormat.PROMETHEUSRULE:
        raise ConfigError(
            f"--label: received {given[0]!r}; files have no labels, add --format prometheusrule"
        )
    for text in given:
        if not _LABEL.fullmatch(text):
            raise ConfigError(
                f"--label: received {text!r}; a label is KEY=VALUE, of letters, digits, '-', '_' and '.', "
                "a value of at most 63; write one such as release=kube-prometheus-stack"
            )
    return dict(text.split("=", 1) for text in given)


@app.command()
def dashboards(out: _Folder = Path("dashboards"), config: _ConfigFile = None) -> None:
    """Write the Grafana dashboards for a configuration."""
    from exporter.mixin import write_dashboards

    for path in write_dashboards(load_config(config), out):
        typer.echo(path)


@app.command()
def digest(directory: _Saved) -> None:
    """Print the line that pins a directory of pickles; nothing in it is opened as such."""
    from exporter.detectors.alibi.pinned import directory_digest

    typer.echo(f"sha256: {directory_digest(directory)}")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"inference-exporter {__version__}")


def main() -> None:
    """Run the command line; mistakes of the user are one line each with exit code 2, without a traceback."""
    try:
        app()
        return
    except InferenceExporterError as error:
        lines = str(error).splitlines()
    except OSError as error:
        log.debug("%s", error, exc_info=True)
        lines = [error.strerror or str(error)]
        if error.filename is not None:
            name = os.fsdecode(error.filename)
            lines = [f"{name}: {lines[0]}; give another path, or make this one fit for use"]
    for line in lines:
        typer.echo(f"error: {line}", err=True)
    sys.exit(2)
