"""The commands: each a thin shell over functions that do the work."""

from __future__ import annotations

import typer

from exporter.commands.check_config import check_config
from exporter.commands.digest import digest
from exporter.commands.explain import explain_threshold
from exporter.commands.fit import fit
from exporter.commands.monitoring import dashboards, rules
from exporter.commands.replay import replay
from exporter.commands.sidecar import sidecar


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
