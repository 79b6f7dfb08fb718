"""The sidecar: a data plane in this process, and its analyzer in another one."""

from __future__ import annotations

import asyncio
import copy
import logging
import signal
from pathlib import Path

from exporter.config import Config, SidecarConfig
from exporter.errors import ConfigError
from exporter.receivers.proxy.address import Address
from exporter.receivers.proxy.capture_log import CaptureLog
from exporter.receivers.proxy.limits import ProxyLimits
from exporter.receivers.proxy.proxy import Proxy
from exporter.sidecar.analyzer_process import AnalyzerProcess
from exporter.sidecar.messages import Open, Reload, Report

log = logging.getLogger(__name__)

# How old the data plane's own counts are in a scrape, at most.
_REPORT_SECONDS = 0.1


class Sidecar:
    """A sidecar in front of one upstream.

    The data plane is the first process: nothing that happens at the analyzer, which reads, tests and answers
    scrapes, can break or hold up a connection.

    Parameters
    ----------
    config
        With a ``sidecar`` section.
    config_path
        Read again at :meth:`reload`.

    Raises
    ------
    ConfigError
        If there is no such section.
    """

    def __init__(self, config: Config, config_path: Path | None = None) -> None:
        if config.sidecar is None:
            raise ConfigError(
                "sidecar: is required and was not given; add sidecar: {upstream: http://HOST:PORT}"
            )
        self._section = config.sidecar
        self._queue_seconds = config.queue.drain_seconds
        self._draining = False
        capture_log = CaptureLog()
        self._log = capture_log
        self.proxy = Proxy(
            Address.parse(config.sidecar.upstream),
            Address.parse(config.sidecar.listen),
            tap=capture_log,
            limits=_limits(config.sidecar),
        )
        opening = Open(config, config_path, logging.getLogger().getEffectiveLevel())
        self._analyzer = AnalyzerProcess(opening, capture_log, self._report)

    async def serve(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set, then drain: not ready first, exchanges next, the queue last.

        Raises
        ------
        ConfigError, InvalidReference, DetectorFileError
            If a setting, or something that it names, cannot serve; nothing listens then.
        """
        section = self._section
        admin = await self._analyzer.start()
        try:
            await self.proxy.start()
        except OSError as error:
            await self._analyzer.stop(self._queue_seconds)
            raise ConfigError(
                f"sidecar.listen: {section.listen!r} cannot be listened on "
                f"({error.strerror or error}); give a free address of this host, HOST:PORT"
            ) from error
        log.info("listening on %s for %s", self.proxy.address, section.upstream)
        log.info("metrics on http://%s/metrics", admin)
        reporting = asyncio.get_running_loop().create_task(self._keep_reporting())
        await stop.wait()
        self._draining = True
        self._analyzer.send(self._report())
        log.info("draining for up to %.0f s", section.drain_seconds)
        await self.proxy.drain(section.drain_seconds)
        reporting.cancel()
        self._analyzer.send(self._report())
        await self._analyzer.stop(self._queue_seconds)

    def reload(self) -> None:
        """Have the configuration file read again; a bad one leaves the old one running, and says so."""
        self._analyzer.send(Reload())

    def _report(self) -> Report:
        return Report(copy.deepcopy(self.proxy.stats), self._log.abandoned, self._draining)

    async def _keep_reporting(self) -> None:
        last = None
        while True:
            report = self._report()
            if report != last:
                self._analyzer.send(report)
                last = report
            await asyncio.sleep(_REPORT_SECONDS)


def run(config: Config, config_path: Path | None = None) -> None:
    """Run a sidecar until SIGTERM or SIGINT; SIGHUP reads the configuration again.

    Raises
    ------
    ConfigError, InvalidReference, DetectorFileError
        As :class:`Sidecar`; before anything listens.
    """
    sidecar = Sidecar(config, config_path)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, sidecar.reload)
        await sidecar.serve(stop)

    import uvloop

    uvloop.run(main())


def _limits(config: SidecarConfig) -> ProxyLimits:
    return ProxyLimits(
        max_connections=config.max_connections,
        connect_seconds=config.connect_timeout,
        first_byte_seconds=config.first_byte_timeout,
        idle_seconds=config.idle_timeout,
    )
