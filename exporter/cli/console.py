"""What the commands share: where they print, how they show progress, and options that several take."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from exporter.errors import ConfigError

_STEPS = 4
_plain_console = partial(Console, highlight=False, markup=False, emoji=False)


def positive(text: str) -> Any:
    """An option that takes a finite number above 0; ``text`` says what it is for."""
    return typer.Option(callback=_check_positive, help=text)


def _check_positive(parameter: typer.CallbackParam, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{parameter.opts[0]}: {value:g}; give a number above 0")
    return value


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
Key = Annotated[
    str | None, typer.Option(help="The array, column of lists, or JSON key that holds the embeddings.")
]
MaxPerSecond = Annotated[float | None, positive("Tests a second in operation (sample.max_per_second).")]


def print_table(table: Table) -> None:
    """Print a table on standard output. Off a terminal nothing is wrapped, so that lines can be searched."""
    _plain_console(width=None if sys.stdout.isatty() else 10_000).print(table)


@contextmanager
def progress(label: str) -> Iterator[Callable[[float], None]]:
    """A bar on the terminal, a line at each quarter elsewhere; both on standard error.

    Gives a function that takes the share done, 0 to 1.
    """
    console = _plain_console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(label, total=1.0)
            yield lambda done: bar.update(task, completed=done)
        return
    shown = 0

    def line(done: float) -> None:
        nonlocal shown
        step = math.floor(done * _STEPS + 1e-9)
        if step > shown:
            shown = step
            console.print(f"{label}: {100 * step // _STEPS}%", soft_wrap=True)

    yield line


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """Name the option where the file that it gives cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror
        raise ConfigError(f"{option}: {path} cannot be written ({reason}); give another path") from error
