"""The data plane's side of its analyzer: started before anything listens, and again when it dies or hangs."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from exporter.processes.framing import Link, Messages, framed
from exporter.processes.messages import Refused
from exporter.processes.spawn import reap, spawn
from exporter.processes.supervisor import RULES, Rules, Supervisor
from exporter.receivers.proxy.capture_log import CaptureLog, Entry
from exporter.sidecar.messages import AdminAddress, Open, Opened, Reload, Reloaded, Report, Seen, Told, packed

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

    Parameters
    ----------
    opening
        What the first analyzer gets to know; later ones get what was read again meanwhile.
    capture_log
        What it reads.
    report
        Gives the data plane's state, for the analyzer.
    rules
        When it is started again, and when it counts as hung.
    """

    def __init__(
        self,
        opening: Open,
        capture_log: CaptureLog,
        report: Callable[[], Report],
        rules: Rules = RULES,
    ) -> None:
        self._opening = opening
        self._log = capture_log
        self._report = report
        self._supervisor = Supervisor(rules)
        self._connection: _Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._in_thread = False
        self._reload_wanted = False
        self._keeping: asyncio.Task[None] | None = None

    @property
    def admin(self) -> AdminAddress | None:
        """Where it serves the admin application; None while there is no analyzer."""
        return None if self._connection is None else self._connection.admin

    async def start(self) -> None:
        """Start the analyzer, wait until everything is there, and keep one running from now on.

        Raises
        ------
        InferenceExporterError
            If the configuration cannot serve.
        OSError
            If it ends or hangs before it has said anything.
        """
        try:
            self._process, sock = spawn(_PROGRAM, os.environ)
        except Exception as error:
            log.warning("no process can be started (%s); the analyzer runs in a thread of this one", error)
            self._in_thread = True
            sock = _thread()
        connection = await self._open(sock)
        self._keeping = asyncio.get_running_loop().create_task(self._keep(connection))

    def reload(self) -> None:
        """Have the configuration file read again, by the next analyzer if there is none now."""
        if self._connection is not None:
            self._connection.send(Reload())
        else:
            self._reload_wanted = True

    async def stop(self, grace_seconds: float) -> None:
        """Hand on the rest of the capture log, and wait until the analyzer has dealt with all of it."""
        if self._keeping is not None:
            self._keeping.cancel()
        connection = self._connection
        if connection is None:
            if self._process is not None:
                self._process.kill()
                await self._reap()
            return
        connection.send(self._report())
        self._log.flush()
        connection.finish()
        try:
            await asyncio.wait_for(connection.lost, grace_seconds + _LAST_WORDS_SECONDS)
        except asyncio.TimeoutError:
            log.warning("the analyzer did not end by itself, and is killed")
        self._connection = None
        await self._reap()

    async def _open(self, sock: socket.socket) -> _Connection:
        """Tell an analyzer that was just started what to watch, and wait until it is ready."""
        self._supervisor.started()
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        opening = self._opening
        _, connection = await loop.create_unix_connection(
            lambda: _Connection(self._log, self._supervisor, self._reloaded), sock=sock
        )
        connection.send(opening)
        while not connection.answer.done() and not self._supervisor.hung:
            await asyncio.wait([connection.answer], timeout=_REPORT_SECONDS)
        answer = connection.answer.result() if connection.answer.done() else None
        if not isinstance(answer, Opened):
            connection.transport.abort()
            await self._reap()
            if isinstance(answer, Refused):
                raise answer.error
            raise OSError("the analyzer ended or hung before it was ready")
        self._supervisor.ready()
        connection.admin = answer.admin
        self._connection = connection
        self._log.start(connection)
        if self._reload_wanted:
            self._reload_wanted = False
            connection.send(Reload())
        return connection

    async def _keep(self, connection: _Connection) -> None:
        """Have an analyzer running, for ever."""
        while True:
            await self._watch(connection)
            self._connection = None
            self._log.interrupt()
            hung = not connection.lost.done()
            connection.transport.abort()
            status = await self._reap()
            self._supervisor.ended()
            how = "hangs" if hung else f"died (exit status {status})"
            log.error("the analyzer %s; traffic passes, and a new one is started", how)
            connection = await self._start_again()
            log.info("a new analyzer has taken over; connections that are open stay unobserved")

    async def _start_again(self) -> _Connection:
        while True:
            await asyncio.sleep(self._supervisor.pause_seconds)
            try:
                if self._in_thread:
                    sock = _thread()
                else:
                    self._process, sock = spawn(_PROGRAM, os.environ)
                return await self._open(sock)
            except Exception as error:
                self._supervisor.ended()
                log.error("no analyzer could be started: %s", error)

    async def _watch(self, connection: _Connection) -> None:
        """Report to it whatever changes, until it is lost or hangs.

        The next report waits for it to have seen the last: what it is behind with does not pile up here.
        """
        last, sent_at, unsent = None, 0.0, 0
        loop, supervisor = asyncio.get_running_loop(), self._supervisor
        while not connection.lost.done():
            if connection.owes:
                before, unsent = unsent, connection.unsent()
                if unsent < before:
                    supervisor.alive()
                elif supervisor.hung:
                    return
            else:
                report = self._report()
                if report != last or loop.time() - sent_at > _QUIET_SECONDS:
                    last, sent_at = report, loop.time()
                    supervisor.alive()  # what it owes, it owes from now on
                    connection.send(report)
            await asyncio.wait([connection.lost], timeout=_REPORT_SECONDS)

    def _reloaded(self, message: Reloaded) -> None:
        self._opening = replace(self._opening, config=message.config, reload_success=message.success)

    async def _reap(self) -> int | None:
        process, self._process = self._process, None
        return None if process is None else await asyncio.to_thread(reap, process)


class _Connection(asyncio.Protocol):
    """The socket to an analyzer, and the writer that segments go onto."""

    transport: asyncio.Transport

    def __init__(
        self, capture_log: CaptureLog, supervisor: Supervisor, reloaded: Callable[[Reloaded], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Any] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.admin: AdminAddress | None = None
        self.owes = False
        self._log = capture_log
        self._supervisor = supervisor
        self._reloaded = reloaded
        self._messages = Messages()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._supervisor.alive()
        for message in self._messages.feed(data):
            if isinstance(message, Told):
                self._log.told(message.standings)
            elif isinstance(message, Seen):
                self.owes = False
            elif isinstance(message, Reloaded):
                self._reloaded(message)
            elif isinstance(message, Opened | Refused) and not self.answer.done():
                self.answer.set_result(message)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_result(None)
        if not self.lost.done():
            self.lost.set_result(None)

    def send(self, message: object) -> None:
        if not self.transport.is_closing():
            self.owes = self.owes or isinstance(message, Report)
            self.transport.writelines(framed(message))

    def finish(self) -> None:
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def write(self, segment: list[Entry], /) -> None:
        self.send(packed(segment))

    def unsent(self) -> int:
        return self.transport.get_write_buffer_size()


def _thread() -> socket.socket:
    """An analyzer in a thread of this process; gives our end of the socket."""
    from exporter.sidecar.analyzer import serve

    ours, theirs = socket.socketpair()

    def run() -> None:
        with theirs:
            serve(Link(theirs))

    threading.Thread(target=run, name="inference-exporter-analyzer", daemon=True).start()
    return ours
