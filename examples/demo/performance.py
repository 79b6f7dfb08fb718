"""The course of the demonstration: train, serve, send, watch, sum up."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from examples.demo.alerting import alert_complaints, alerting
from examples.demo.picture import save_picture
from examples.demo.scrape import Snapshot, scrape
from examples.demo.server import running_service
from examples.demo.story import Outcome, Phase, complaints, outcome, plan
from examples.demo.view import plain_line, screen
from examples.stack import Change
from examples.traffic import send_traffic

SCRAPE_SECONDS = 0.25
LINE_SECONDS = 4.0
SETTLE_SECONDS = 15.0
CALIBRATION_SECONDS = 60.0


class Performance:
    """One run of the demonstration.

    Parameters
    ----------
    seconds
        Length of each phase that goes by the clock.
    port
        Port of the service on 127.0.0.1; 0 for a free one.
    output
        Folder for the picture and the service's log.
    live
        Draw the live view; otherwise print lines.
    keep
        Leave the service up at the end until interrupted.
    stack
        Run Prometheus and Alertmanager beside it, and see to it that the drift alert fires and resolves.
    """

    def __init__(
        self,
        console: Console,
        *,
        seconds: float,
        port: int,
        output: Path,
        live: bool,
        keep: bool,
        stack: bool = False,
    ) -> None:
        self.console = console
        self.seconds = seconds
        self.port = port
        self.output = output
        self.live = live
        self.keep = keep
        self.stack = stack
        self.changes: list[Change] = []
        self.started = time.monotonic()
        self.history: list[Snapshot] = []
        self.found: dict[int, int] = {}
        self.phases: tuple[Phase, ...] = ()
        self.phase = -1
        self.phase_start = 0.0
        self._display: Live | None = None
        self._line: Snapshot | None = None

    async def run(self) -> int:
        """Do everything; return the exit code."""
        self._prepare()
        async with contextlib.AsyncExitStack() as running:
            url = await running.enter_async_context(
                running_service(self._artefacts, self.output / "service.log", self.port)
            )
            self.console.print(f"The service is up: [bold]{url}/predict[/]\nMetrics: {url}/metrics")
            if self.stack:
                stack = await running.enter_async_context(alerting(url, self._noted))
                self.console.print(f"Prometheus: {stack.prometheus}\nAlertmanager: {stack.alertmanager}")
            self.console.print()
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=10.0) as client:
                outcomes = await self._play(client, url)
            code = await self._sum_up(outcomes)
            if self.keep:
                await self._stay(url)
        return code

    def _prepare(self) -> None:
        # torch takes seconds to import: a word first.
        self.console.print("[bold]A model that reads digits, and traffic that drifts away from it[/]\n")
        self.console.print("Training a small network on scikit-learn's digits, if that is not done yet ...")
        import torch

        from examples.digits.service import WINDOW
        from examples.digits.traffic import pictures
        from examples.digits.train import BUILD, ensure_trained

        torch.set_num_threads(1)
        self._artefacts = BUILD
        trained = ensure_trained(BUILD)
        if trained is not None:
            self.console.print(
                f"Trained in {trained.seconds:.0f} s: {trained.accuracy:.1%} right on digits it has not seen."
            )
        next(pictures("drifted"))  # imports torchvision now, not in the middle of the traffic
        self.phases = plan(WINDOW)

    async def _play(self, client: httpx.AsyncClient, url: str) -> list[Outcome]:
        outcomes = []
        with self._showing():
            before = await self._until_calibrated(client)
            for index, phase in enumerate(self.phases):
                self.phase, self.phase_start = index, time.monotonic()
                self._say(f"-- {phase.name}: {phase.text}")
                first = len(self.history)
                watching = asyncio.create_task(self._watch(client, before))
                try:
                    await self._send(url, phase)
                finally:
                    watching.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await watching
                last = await self._until_settled(client)
                outcomes.append(outcome(phase, before, self.history[first:]))
                before = last
        return outcomes

    async def _send(self, url: str, phase: Phase) -> None:
        from examples.digits.traffic import payloads

        await send_traffic(
            f"{url}/predict",
            payloads(phase.kind, phase.seed),
            steps=phase.steps,
            seconds=self.seconds,
            count=phase.requests,
        )

    async def _watch(self, client: httpx.AsyncClient, before: Snapshot) -> None:
        while True:
            now = await self._look(client)
            expected = self.phases[self.phase].expect_drift is not None
            if expected and self.phase not in self.found and now.events > before.events:
                delay = (now.tests - before.tests) - (now.events - before.events) + 1
                self.found[self.phase] = delay
                self._say(
                    f"   DRIFT: above {now.threshold:.3f} at request {delay}; now at {now.statistic:.3f}"
                )
            await asyncio.sleep(SCRAPE_SECONDS)

    async def _look(self, client: httpx.AsyncClient) -> Snapshot:
        now = await scrape(client, self.phase)
        self.history.append(now)
        if self._display is not None:
            self._display.update(self._screen(), refresh=True)
        elif self._line is None or now.at - self._line.at >= LINE_SECONDS:
            if self._line is not None:
                self.console.print(plain_line(now, self._line, self.phases, self.started))
            self._line = now
        return now

    async def _until_calibrated(self, client: httpx.AsyncClient) -> Snapshot:
        deadline = time.monotonic() + CALIBRATION_SECONDS
        while True:
            now = await self._look(client)
            if now.state in ("filling", "ready") and not math.isnan(now.threshold):
                return now
            if now.state == "failed" or time.monotonic() > deadline:
                raise RuntimeError(
                    f"the detector did not become ready; its state is {now.state or 'unknown'}"
                )
            await asyncio.sleep(SCRAPE_SECONDS)

    async def _until_settled(self, client: httpx.AsyncClient) -> Snapshot:
        """Scrape until nothing is queued, so that a phase's requests all count as that phase's."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            now = await self._look(client)
            if now.settled and now.observed == now.answers.get("2xx", 0):
                return now
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"{now.queued} observations were still queued after {SETTLE_SECONDS:.0f} s"
                )
            await asyncio.sleep(SCRAPE_SECONDS)

    @contextlib.contextmanager
    def _showing(self) -> Iterator[None]:
        if not self.live:
            yield
            return
        with Live(console=self.console, auto_refresh=False, transient=True) as display:
            self._display = display
            try:
                yield
            finally:
                self._display = None

    def _screen(self) -> RenderableType:
        remaining = None
        if self.phase >= 0 and self.phases[self.phase].requests is None:
            remaining = max(0.0, self.phase_start + self.seconds - time.monotonic())
        width = min(self.console.width, 110)
        alert = self.changes[-1].line() if self.changes else None
        return screen(self.history, self.phases, remaining, self.found, width, alert)

    def _noted(self, change: Change) -> None:
        self.changes.append(change)
        self._say(f"   {change.line()}")

    def _say(self, text: str) -> None:
        if self._display is None:
            self.console.print(text, markup=False)

    async def _sum_up(self, outcomes: list[Outcome]) -> int:
        last = self.history[-1]
        table = Table(title="What /metrics said\n", title_justify="left", box=None, padding=(0, 1, 0, 0))
        table.add_column("phase", no_wrap=True)
        for name in ("requests", "mean\nconfid.", "median\nstatistic", "max\nstatistic"):
            table.add_column(name, justify="right")
        for name in ("drift\nevents", "epi-\nsodes", "found\nafter"):
            table.add_column(name, justify="right")
        table.add_column("verdict", no_wrap=True)
        for o in outcomes:
            judged = o.phase.expect_drift is not None
            verdict = "-" if not judged else "[red]wrong[/]" if o.complaint() else "[green]right[/]"
            table.add_row(
                *(o.phase.name, str(o.requests), f"{o.mean_confidence:.3f}"),
                *(f"{o.median_statistic:.3f}", f"{o.max_statistic:.3f}", str(o.events), str(o.episodes)),
                *("-" if o.delay is None or not judged else str(o.delay), verdict),
            )
        picture = self.output / "drift.png"
        save_picture(self.history, outcomes, picture)
        wrong = complaints(outcomes, last) + await self._alert_complaints()
        self.console.print(table)
        self.console.print(
            f"\nthreshold {last.threshold:.3f}, set for one false alarm "
            f"in {last.expected_run_length:,.0f} tests\n"
            f"'found after' counts the requests of the phase up to the first drift event\n"
            f"picture: {picture}\n"
        )
        for text in wrong:
            self.console.print(f"[red]failed:[/] {text}")
        if not wrong:
            self.console.print("[green]Drift was found where it was, and nowhere else.[/]")
        return 1 if wrong else 0

    async def _alert_complaints(self) -> list[str]:
        """What the drift alert did not do; it is given a while to resolve."""
        if not self.stack:
            return []
        deadline = time.monotonic() + SETTLE_SECONDS
        while (missing := alert_complaints(self.changes)) and time.monotonic() < deadline:
            await asyncio.sleep(SCRAPE_SECONDS)
        if self.live:
            self.console.print("Alerts:")
            for change in self.changes:
                self.console.print(f"  {change.line()}", markup=False)
            self.console.print()
        return missing

    async def _stay(self, url: str) -> None:
        self.console.print(
            f"\nThe service stays up until Ctrl-C:\n"
            f"  {url}/metrics\n  {url}/docs\n"
            f"  python -m examples.digits.traffic --url {url} --phase low-confidence --shape ramp\n"
        )
        with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is how this ends
            await asyncio.Event().wait()
