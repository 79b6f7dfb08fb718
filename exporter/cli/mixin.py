"""``inference-exporter rules`` and ``dashboards``: alert rules and Grafana dashboards for a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.config.loading import load_config

_ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML configuration file.")]
_Folder = Annotated[Path, typer.Option(help="Folder to write to; made if it is missing.")]


def rules(out: _Folder = Path("rules"), config: _ConfigFile = None) -> None:
    """Write Prometheus's and Grafana's alert rules for a configuration."""
    from exporter.mixin import write_rules

    for path in write_rules(load_config(config), out):
        typer.echo(path)


def dashboards(out: _Folder = Path("dashboards"), config: _ConfigFile = None) -> None:
    """Write the Grafana dashboards for a configuration."""
    from exporter.mixin import write_dashboards

    for path in write_dashboards(load_config(config), out):
        typer.echo(path)
