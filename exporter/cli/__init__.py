"""The commands: each a thin shell over functions that do the work."""

from __future__ import annotations

import typer

from exporter.cli.check_config import check_config
from exporter.cli.digest import digest
from exporter.cli.explain import explain_threshold
from exporter.cli.fit import fit
from exporter.cli.mixin import dashboards, rules
from exporter.cli.replay import replay
from exporter.cli.sidecar import sidecar


def register(app: typer.Typer) -> None:
    """Add every command to a command line."""
    app.command()(sidecar)
    app.command()(fit)
    app.command()(replay)
    app.command("explain-threshold")(explain_threshold)
    app.command("check-config")(check_config)
    app.command()(rules)
    app.command()(dashboards)
    app.command()(digest)
