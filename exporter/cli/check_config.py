"""``inference-exporter check-config``: what is wrong with a configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.config.loading import load_config


def check_config(
    config: Annotated[Path, typer.Argument(help="YAML configuration file.")],
    *,
    files: Annotated[bool, typer.Option(help="Also read the references that it names.")] = True,
) -> None:
    """Check a configuration file; exit code 2 and one line for each mistake if it has any."""
    loaded = load_config(config)
    if files:
        from exporter.drift.detectors import check_detector

        for entry in loaded.drift:
            check_detector(entry)
    typer.echo(f"{config}: ok, model {loaded.model}, {len(loaded.drift)} detector(s)")
