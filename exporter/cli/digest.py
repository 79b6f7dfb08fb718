"""``inference-exporter digest``: the SHA-256 that pins a directory saved by alibi-detect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def digest(
    directory: Annotated[Path, typer.Argument(help="What alibi-detect's save_detector wrote.")],
) -> None:
    """Print the line that pins a directory of pickles; nothing in it is opened as such."""
    from exporter.detectors.alibi.pinned import directory_digest

    typer.echo(f"sha256: {directory_digest(directory)}")
