"""The data plane's side of its analyzer: started before anything listens, and again when it dies or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import replace

from exporter.errors import InferenceExporterError
from exporter.processes.framing import Beat, Link, framed, receive
from exporter.processes.supervisor import RULES, Rules, Supervisor
from exporter.receivers.proxy.capture_log import CaptureLog, Entry
from exporter.sidecar.messages import AdminAddress, Open, Opened, Reload, Reloaded, Report, Seen, packed

log = logging.getLogger(__name__)

_PROGRAM = "exporter.sidecar.analyzer"
_LAST_WORDS_SECONDS = 15.0
# How old the data plane's own counts are in a scrape, unless the analyzer is behind.
_REPORT_SECONDS = 0.1
# How often one that has nothing to do shows that it is alive.
_QUIET_SECONDS = 2.0


class AnalyzerProcess:
    """An analyzer in a process of its own. All methods belong to the event loop.

    Where no process can be started it runs in a thread of this one. Later it never does: then nothing
    that happens to it is worth the data plane.

    It reads ``capture_log``. ``opening`` is what the first analyzer gets to know; later ones get what was
    read again meanwhile. ``report`` gives the data plane's state.
    """

    def __init__(
        self, opening: Open, capture_log: CaptureLog, report: Callable[[], Report], rules: Rules = RULES
    ) -> None:
        self.admin: AdminAddress | None = None  # which it serves; None while there is no analyzer
        self._opening = opening
        self._log = capture_log
        self._report = report
        self._supervisor = Supervisor(rules)
        self._in_thread = False
        self._reload_wanted = False
        self._owes = False
        self._writer: asyncio.StreamWriter
        self._reading: asyncio.Task[None]
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the analyzer, wait until everything is there, and keep one running from now on.

        Raises what it says if the configuration cannot serve, and OSError if it ends or hangs before that.
        """
        try:
            connection = self._supervisor.spawn(_PROGRAM, os.environ)
        except Exception as error:
            log.warning("no process can be started (%s); the analyzer runs in a thread of this one", error)
            self._in_thread = True
            connection = _thread()
        await self._open(connection)
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    def reload(self) -> None:
        """Have the configuration file read again, by the next analyzer if there is none now."""
        if self.admin is not None:
            self._send(Reload())
        else:
            self._reload_wanted = True

    async def stop(self, grace_seconds: float) -> None:
        """Hand on the rest of the capture log, and wait until the analyzer has dealt with all of it."""
        if self._keeping is not None:
            self._keeping.cancel()
        if self.admin is None:
            await asyncio.to_thread(self._supervisor.reap, 0.0)
            return
        self._send(self._report())
        self._log.flush()
        if not self._writer.is_closing():
            self._writer.write_eof()
        await asyncio.wait([self._reading], timeout=grace_seconds + _LAST_WORDS_SECONDS)
        if not self._reading.done():
            log.warning("the analyzer did not end by itself, and is killed")
        await self._let_go()

    def write(self, segment: list[Entry], /) -> None:
        """Take a segment of the capture log."""
        self._send(packed(segment))

    def unsent(self) -> int:
        """Bytes that the analyzer has not fetched yet."""
        return self._writer.transport.get_write_buffer_size()

    async def _open(self, connection: socket.socket) -> None:
        """Tell an analyzer that was just started what to watch, and wait until it is ready."""
        self._supervisor.started()
        connection.setblocking(False)
        reader, self._writer = await asyncio.open_unix_connection(sock=connection)
        self._send(self._opening)
        first: object = Beat()
        with contextlib.suppress(asyncio.TimeoutError):
            while isinstance(first, Beat):
                first = await asyncio.wait_for(receive(reader), self._supervisor.rules.start_seconds)
        if not isinstance(first, Opened):
            await self._let_go()
            if isinstance(first, InferenceExporterError):
                raise first
            raise OSError("the analyzer ended or hung before it was ready")
        self._supervisor.ready()
        self._owes = False
        self._reading = asyncio.get_running_loop().create_task(self._read(reader))
        self.admin = first.admin
        self._log.start(self)
        if self._reload_wanted:
            self._reload_wanted = False
            self._send(Reload())

    async def _keep(self) -> None:
        """Have an analyzer running, for ever."""
        while True:
            await self._watch()
            hung = not self._reading.done()
            self._log.interrupt()
            status = await self._let_go()
            self._supervisor.ended()
            how = "hangs" if hung else f"died (exit status {status})"
            log.error("the analyzer %s; traffic passes, and a new one is started", how)
            while self.admin is None:
                await asyncio.sleep(self._supervisor.pause_seconds)
                try:
                    spawn = self._supervisor.spawn
                    await self._open(_thread() if self._in_thread else spawn(_PROGRAM, os.environ))
                except Exception as error:
                    self._supervisor.ended()
                    log.error("no analyzer could be started: %s", error)
            log.info("a new analyzer has taken over; connections that are open stay unobserved")

    async def _watch(self) -> None:
        """Report to the analyzer whatever changes, until it is lost or hangs.

        The next report waits for it to have seen the last: what it is behind with does not pile up here.
        """
        last, sent_at, unsent = None, 0.0, 0
        loop, supervisor = asyncio.get_running_loop(), self._supervisor
        while not self._reading.done():
            if self._owes:
                before, unsent = unsent, self.unsent()
                if unsent < before:
                    supervisor.alive()
                elif supervisor.hung:
                    return
            else:
                report = self._report()
                if report != last or loop.time() - sent_at > _QUIET_SECONDS:
                    last, sent_at = report, loop.time()
                    supervisor.alive()  # what it owes, it owes from now on
                    self._owes = True
                    self._send(report)
            await asyncio.wait([self._reading], timeout=_REPORT_SECONDS)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Take in what the analyzer says, until it is gone."""
        while (message := await receive(reader)) is not None:
            self._supervisor.alive()
            if isinstance(message, list):
                self._log.told(message)
            elif isinstance(message, Seen):
                self._owes = False
            elif isinstance(message, Reloaded):
                self._opening = replace(self._opening, config=message.config, reload_success=message.success)

    async def _let_go(self) -> int | None:
        """Of an analyzer that ended, or is to; gives its exit status."""
        self.admin = None
        self._writer.transport.abort()
        return await asyncio.to_thread(self._supervisor.reap)

    def _send(self, message: object) -> None:
        if not self._writer.is_closing():
            self._writer.writelines(framed(message))


def _thread() -> socket.socket:
    """An analyzer in a thread of this process; gives our end of the socket."""
    from exporter.processes.child import serve
    from exporter.sidecar.analyzer import Analyzer

    ours, theirs = socket.socketpair()

    def run() -> None:
        with theirs:
            serve(Link(theirs), Analyzer)

    threading.Thread(target=run, name="inference-exporter-analyzer", daemon=True).start()
    return ours
