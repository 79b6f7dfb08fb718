"""``inference-exporter sidecar``: run in front of a service."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from exporter.cli.check_config import problems_at_start, refuse
from exporter.config.loading import load_with_origins

_OPTIONS = {
    ("sidecar", "upstream"): "--upstream",
    ("sidecar", "listen"): "--listen",
    ("admin", "listen"): "--admin",
}


def sidecar(
    upstream: Annotated[
        str | None, typer.Option(help="The service: http://HOST:PORT or unix:/path. Wins over the file.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option(help="Where clients connect: HOST:PORT or unix:/path.")
    ] = None,
    admin: Annotated[str | None, typer.Option(help="Where /metrics and health are: HOST:PORT.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML configuration file; read again at SIGHUP.")
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(case_sensitive=False)
    ] = "info",
) -> None:
    """Run in front of an HTTP inference service: bytes pass unchanged, metrics come out."""
    overrides: dict[str, dict[str, str]] = {}
    for (section, key), value in zip(_OPTIONS, (upstream, listen, admin), strict=True):
        if value is not None:
            overrides.setdefault(section, {})[key] = value
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    loaded, origins = load_with_origins(config, overrides=overrides, option_names=_OPTIONS)
    refuse(problems_at_start(loaded), origins)
    from exporter.sidecar.sidecar import run

    run(loaded, config, overrides)
