"""``inference-exporter state``: what a state folder holds, and how to throw it away."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from exporter.drift.folder import StateEntry

_Folder = Annotated[Path, typer.Argument(help="What the key `state` of the configuration names.")]
_Model = Annotated[str | None, typer.Option(help="Of this model only.")]

state = typer.Typer(
    help="What is kept over restarts: references that were learned, and detectors that run.",
    no_args_is_help=True,
)


@state.command()
def show(
    folder: _Folder,
    model: _Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Say what a state folder holds."""
    from exporter.drift.folder import entries

    found = entries(folder, model)
    if as_json:
        typer.echo(json.dumps([asdict(entry) | {"path": str(entry.path)} for entry in found], indent=2))
        return
    for entry in found:
        typer.echo(_in_words(entry))
    if not found:
        typer.echo(f"{folder} holds nothing" + (f" of model {model}" if model else ""))


@state.command()
def forget(folder: _Folder, model: _Model = None) -> None:
    """Throw away what was learned: what is normal is learned anew at the next start."""
    from exporter.drift.folder import forget as remove

    gone = remove(folder, model)
    for entry in gone:
        typer.echo(f"{entry.path}: removed")
    if not gone:
        typer.echo(f"{folder} holds nothing" + (f" of model {model}" if model else ""))


def _in_words(entry: StateEntry) -> str:
    use = "; in use by a running process" if entry.in_use else ""
    if entry.problem:
        return f"{entry.path}: cannot be read ({entry.problem}){use}"
    version = f" {entry.version}" if entry.version else ""
    reference = "no reference yet"
    if entry.source != "none":
        since = f", complete at {_time(entry.reference_timestamp)}" if entry.reference_timestamp else ""
        reference = f"a reference of {entry.reference_rows:,} rows, {entry.source}{since}"
    learning = "" if entry.learning_rows is None else f"; learning, {entry.learning_rows:,} rows by now"
    return (
        f"{entry.path}: model {entry.model}{version}, detector {entry.detector}, worker {entry.worker}: "
        f"{reference}{learning}; saved at {_time(entry.saved)}{use}"
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(sep=" ", timespec="seconds")
