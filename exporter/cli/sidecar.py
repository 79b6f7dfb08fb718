"""``inference-exporter sidecar``: run in front of a service."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from exporter.config.loading import load_config


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
    from exporter.sidecar.sidecar import run

    run(load_config(config, overrides=overrides), config, overrides)
