"""The live view: one screen of a terminal, drawn from the scrapes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.demo.scrape import Snapshot
from examples.demo.story import Phase

EIGHTHS = " ▁▂▃▄▅▆▇█"
PLOT_HEIGHT = 9
MARGIN = 9  # characters for the numbers left of the plot
RATE_SECONDS = 2.0
STATE_STYLES = {
    "learning": "cyan",
    "calibrating": "cyan",
    "filling": "yellow",
    "ready": "green",
    "failed": "red",
}


def plot(history: Sequence[Snapshot], phases: Sequence[Phase], width: int) -> Text:
    """Draw the statistic of the whole story so far, a bar for each stretch of time.

    A bar is the largest statistic of its stretch: green up to the threshold, red above. The line of
    dashes is the threshold, the words below name the phases.
    """
    tested = [s for s in history if not math.isnan(s.statistic)]
    columns = width - MARGIN
    if not tested or columns < 10:
        return Text("\n" * (PLOT_HEIGHT // 2) + "waiting for the first window to fill ...", justify="center")
    threshold = tested[-1].threshold
    top = max(2.0 * threshold, max(s.statistic for s in tested) * 1.05)
    bins = _bins(tested, columns)
    # The threshold stands on the line between two rows, so that every bar above it crosses it.
    line = min(PLOT_HEIGHT - 1, max(1, round(threshold / top * PLOT_HEIGHT)))
    text = Text()
    for row in range(PLOT_HEIGHT - 1, -1, -1):
        label = f"{threshold:.3f} " if row == line - 1 else f"{top:.3f} " if row == PLOT_HEIGHT - 1 else ""
        text.append(label.rjust(MARGIN), style="yellow" if row == line - 1 else "dim")
        for group in bins:
            text.append(*_cell(group, row, line, threshold, top))
        text.append("\n")
    text.append(" " * MARGIN)
    text.append(_ruler(bins, phases), style="dim")
    return text


def _bins(tested: Sequence[Snapshot], columns: int) -> list[list[Snapshot]]:
    per_column = max(1, math.ceil(len(tested) / columns))
    return [list(tested[i : i + per_column]) for i in range(0, len(tested), per_column)]


def _cell(group: Sequence[Snapshot], row: int, line: int, threshold: float, top: float) -> tuple[str, str]:
    statistic = max(s.statistic for s in group)
    above = statistic > threshold
    # Below and above the line the scale is linear each, so that rounding never puts a bar on the
    # wrong side of it.
    if above:
        filled = line + (statistic - threshold) / (top - threshold) * (PLOT_HEIGHT - line)
    else:
        filled = max(0.0, statistic / threshold) * line
    eighths = math.floor((filled - row) * 8)
    if above:
        eighths = max(eighths, 1 if row == line else 0)
    if eighths > 0:
        return EIGHTHS[min(8, eighths)], "red" if above else "green"
    return ("╌", "yellow") if row == line - 1 else (" ", "")


def _ruler(bins: Sequence[Sequence[Snapshot]], phases: Sequence[Phase]) -> str:
    ruler = ""
    for index, phase in enumerate(phases):
        size = sum(1 for group in bins if group[-1].phase == index)
        if size:
            word = f"└{phase.name}" if size > 2 else "└"
            ruler += word[:size].ljust(size)
    return ruler


def screen(
    history: Sequence[Snapshot],
    phases: Sequence[Phase],
    remaining: float | None,
    found: dict[int, int],
    width: int,
    alert: str | None = None,
) -> RenderableType:
    """Put the whole view together.

    Parameters
    ----------
    remaining
        Seconds left of the phase, None if it does not go by the clock.
    found
        Delay in requests by index of the phase in which drift was found.
    alert
        The latest change of an alert, if alerts are watched.
    """
    now = history[-1]
    inner = width - 4
    drift = Panel(
        plot(history, phases, inner),
        title="drift_test_stat_last [dim](MMD² of the last window against the reference)[/]",
        subtitle=_verdict(now, found),
        border_style="red" if now.active else "green",
    )
    lines: list[RenderableType] = [_headline(now, phases, remaining)]
    if alert is not None:
        lines.append(Text(alert, style="yellow", no_wrap=True, overflow="ellipsis"))
    return Group(*lines, drift, _lower(history, width))


def _headline(now: Snapshot, phases: Sequence[Phase], remaining: float | None) -> Text:
    if not 0 <= now.phase < len(phases):
        return Text.assemble((" starting ", "reverse"), f"  the detector is {now.state}")
    phase = phases[now.phase]
    clock = f"   {remaining:.0f} s left" if remaining is not None else ""
    return Text.assemble(
        (f" {now.phase + 1}/{len(phases)} {phase.name} ", "reverse bold"), f"  {phase.text}", (clock, "dim")
    )


def _verdict(now: Snapshot, found: dict[int, int]) -> str:
    if now.active:
        delay = found.get(now.phase)
        how = (
            f"found {delay} requests after it began" if delay is not None else "until a whole window is clean"
        )
        return f"[bold red]drift_active 1: {how}[/]"
    return "[green]drift_active 0[/]"


def _lower(history: Sequence[Snapshot], width: int) -> RenderableType:
    now = history[-1]
    past = next((s for s in reversed(history) if now.at - s.at >= RATE_SECONDS), history[0])
    third = (width - 2) // 3
    return Columns(
        [
            Panel(_service(now, past), title="service", width=third, height=8),
            Panel(_confidence(now, past, third - 4), title="confidence", width=third, height=8),
            Panel(_classes(now, past, third - 4), title="classes", width=third, height=8),
        ],
        padding=(0, 1),
    )


def _service(now: Snapshot, past: Snapshot) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim")
    table.add_column(justify="right")
    elapsed = max(now.at - past.at, 1e-9)
    answered = sum(now.answers.values()) - sum(past.answers.values())
    table.add_row("requests/s", f"{answered / elapsed:.1f}" if past is not now else "-")
    table.add_row("requests", str(sum(now.answers.values())))
    table.add_row("detector", Text(now.state, style=STATE_STYLES.get(now.state, "")))
    table.add_row("tests", str(now.tests))
    table.add_row("drift events", Text(str(now.events), style="red" if now.events else ""))
    table.add_row("episodes", str(now.episodes))
    return table


def _confidence(now: Snapshot, past: Snapshot, width: int) -> Text:
    count = now.confidence_count - past.confidence_count
    if not count:
        return Text("-")
    mean = (now.confidence_sum - past.confidence_sum) / count
    style = "green" if mean >= 0.9 else "yellow" if mean >= 0.75 else "red"
    filled = round(mean * width)
    return Text.assemble(
        (f"{mean:.3f}", f"bold {style}"),
        (" mean of the last\n", "dim"),
        ("seconds\n", "dim"),
        ("█" * filled, style),
        ("░" * (width - filled), "dim"),
    )


def _classes(now: Snapshot, past: Snapshot, width: int) -> Text:
    counts = {name: n - past.classes.get(name, 0) for name, n in now.classes.items() if name != "other"}
    names = sorted(counts)
    text = Text()
    most = max(counts.values(), default=0)
    bar = max(1, (width - 1) // 2 - 2)
    for index in range((len(names) + 1) // 2):
        for name in names[index :: (len(names) + 1) // 2]:
            filled = round(counts[name] / most * bar) if most else 0
            text.append(f"{name[:1]} ", style="dim")
            text.append(("█" * filled).ljust(bar + 1), style="cyan")
        text.append("\n")
    return text


def plain_line(now: Snapshot, past: Snapshot, phases: Sequence[Phase], started: float) -> str:
    """One line for a log, where there is no terminal."""
    elapsed = max(now.at - past.at, 1e-9)
    rate = (sum(now.answers.values()) - sum(past.answers.values())) / elapsed
    count = now.confidence_count - past.confidence_count
    mean = (now.confidence_sum - past.confidence_sum) / count if count else float("nan")
    name = phases[now.phase].name if 0 <= now.phase < len(phases) else "start"
    return (
        f"{time.monotonic() - started:5.1f} s  {name:<12} {rate:5.1f} requests/s  "
        f"statistic {now.statistic:7.4f} / {now.threshold:.4f}  confidence {mean:.3f}  "
        f"drift_active {int(now.active)}  events {now.events}"
    )
