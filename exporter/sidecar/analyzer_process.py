"""The data plane's side of its analyzer: started before anything listens, restarted when it dies."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
from collections.abc import Callable
from typing import Any, cast

from exporter.processes.framing import Messages, framed
from exporter.processes.spawn import spawn
from exporter.receivers.proxy.capture_log import CaptureLog, Entry
from exporter.sidecar.messages import Open, Opened, Refused, Report, Told, packed

log = logging.getLogger(__name__)

_PROGRAM = "exporter.sidecar.analyzer"
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0
_LAST_WORDS_SECONDS = 15.0


class AnalyzerProcess:
    """An analyzer in a process of its own. All methods belong to the event loop.

    Parameters
    ----------
    opening
        What the analyzer gets to know first.
    capture_log
        What it reads.
    report
        Gives the data plane's state, for the analyzer.
    """

    def __init__(self, opening: Open, capture_log: CaptureLog, report: Callable[[], Report]) -> None:
        self._opening = opening
        self._log = capture_log
        self._report = report
        self._stopping = False
        self._pause = _FIRST_PAUSE_SECONDS
        self._connection: _Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._restarting: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Start the analyzer and wait until everything is there; gives the admin listener's address.

        Raises
        ------
        InferenceExporterError
            If the configuration cannot serve.
        OSError
            If no process can be started, or it dies before it has said anything.
        """
        self._process, sock = spawn(_PROGRAM, os.environ)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(lambda: _Connection(self._log), sock=sock)
        connection.send(self._opening)
        answer = await connection.answer
        if isinstance(answer, Refused):
            await self._bury()
            raise answer.error
        if not isinstance(answer, Opened):
            await self._bury()
            raise OSError("the analyzer ended before it was ready")
        self._connection = connection
        connection.send(self._report())
        self._log.start(connection)
        connection.lost.add_done_callback(self._lost)
        return answer.admin

    def send(self, message: object) -> None:
        """Tell the analyzer something, if it is there."""
        if self._connection is not None:
            self._connection.send(message)

    async def stop(self, grace_seconds: float) -> None:
        """Hand on the rest of the capture log, and wait until the analyzer has dealt with all of it."""
        self._stopping = True
        if self._restarting is not None:
            self._restarting.cancel()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._log.flush()
        connection.finish()
        try:
            await asyncio.wait_for(connection.lost, grace_seconds + _LAST_WORDS_SECONDS)
        except asyncio.TimeoutError:
            log.warning("the analyzer did not end by itself, and is killed")
        await self._bury()

    def _lost(self, _: Any) -> None:
        self._log.interrupt()
        self._connection = None
        if not self._stopping:
            self._restarting = asyncio.get_running_loop().create_task(self._restart())

    async def _restart(self) -> None:
        status = await self._bury()
        log.error("the analyzer died (exit status %s); traffic passes, and a new one is started", status)
        while True:
            await asyncio.sleep(self._pause)
            self._pause = min(_LONGEST_PAUSE_SECONDS, 2 * self._pause)
            try:
                await self.start()
            except Exception as error:
                log.error("no analyzer could be started: %s", error)
            else:
                log.info("a new analyzer has taken over; connections that are open stay unobserved")
                return

    async def _bury(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        # If it has ended by itself, it shall have the time to say with which status.
        try:
            return await asyncio.to_thread(process.wait, 0.5)
        except subprocess.TimeoutExpired:
            process.kill()
            return await asyncio.to_thread(process.wait)


class _Connection(asyncio.Protocol):
    """The socket to the analyzer, and the writer that segments go onto."""

    transport: asyncio.Transport

    def __init__(self, capture_log: CaptureLog) -> None:
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Any] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._log = capture_log
        self._messages = Messages()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for message in self._messages.feed(data):
            if isinstance(message, Told):
                self._log.told(message.standings)
            elif not self.answer.done():
                self.answer.set_result(message)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_result(None)
        if not self.lost.done():
            self.lost.set_result(None)

    def send(self, message: object) -> None:
        if not self.transport.is_closing():
            self.transport.writelines(framed(message))

    def finish(self) -> None:
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def write(self, segment: list[Entry], /) -> None:
        self.send(packed(segment))

    def unsent(self) -> int:
        return self.transport.get_write_buffer_size()
