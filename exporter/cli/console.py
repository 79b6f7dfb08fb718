"""What the commands share: where they print, how they show progress, how they read options."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from exporter.config.types import parse_duration
from exporter.errors import ConfigError

_STEPS = 4


def output() -> Console:
    """Where results go. Off a terminal nothing is wrapped, so that lines can be searched."""
    console = Console(highlight=False, markup=False, emoji=False)
    return (
        console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=10_000)
    )


@contextmanager
def progress(label: str) -> Iterator[Callable[[float], None]]:
    """A bar on the terminal, a line at each quarter elsewhere; both on standard error.

    Gives a function that takes the share done, 0 to 1.
    """
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
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


def duration(name: str, text: str | None) -> float | None:
    """Seconds of an option such as ``7d``.

    Raises
    ------
    ConfigError
        If it is no positive duration.
    """
    if text is None:
        return None
    try:
        seconds = float(parse_duration(text))
    except (ValueError, ValidationError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise ConfigError(f"{name}: {text!r}; give seconds, or text such as 30s, 15m, 12h or 7d")
    return seconds


def windows(text: str | None) -> tuple[int, ...] | None:
    """Window lengths of an option such as ``50`` or ``10,50,250``.

    Raises
    ------
    ConfigError
        If one is not a whole number.
    """
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--window: {text!r}; give a whole number, or several such as 10,50,250") from None


def positive(name: str, value: float | None) -> float | None:
    """The value, if it is None or a finite number above 0.

    Raises
    ------
    ConfigError
        If it is not.
    """
    if value is not None and not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name}: {value:g}; give a number above 0")
    return value
