"""The sidecar: a data plane in this process, and its analyzer in another one."""

from __future__ import annotations

import asyncio
import copy
import logging
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exporter.config import Config
from exporter.errors import ConfigError
from exporter.processes.supervisor import RULES, Rules
from exporter.receivers.proxy.address import Address
from exporter.receivers.proxy.capture_log import CaptureLog
from exporter.receivers.proxy.limits import ProxyLimits
from exporter.receivers.proxy.proxy import Proxy
from exporter.sidecar.admin_listener import AdminListener
from exporter.sidecar.analyzer_process import AnalyzerProcess
from exporter.sidecar.messages import Open, Report
from exporter.sidecar.server import cannot_listen

log = logging.getLogger(__name__)


class Sidecar:
    """A sidecar in front of one upstream.

    The data plane is the first process: nothing that happens at the analyzer, which reads, tests and answers
    scrapes, can break or hold up a connection. ``config_path`` and ``overrides`` are the file that is read
    again at :meth:`reload`, and the keys that win over the file's; ``rules`` are for the analyzer.

    Raises
    ------
    ConfigError
        If ``config`` has no ``sidecar`` section.
    """

    def __init__(
        self,
        config: Config,
        config_path: Path | None = None,
        overrides: Mapping[str, Any] | None = None,
        rules: Rules = RULES,
    ) -> None:
        if config.sidecar is None:
            raise ConfigError(
                "sidecar: is required and was not given; add sidecar: {upstream: http://HOST:PORT}"
            )
        self._section = section = config.sidecar
        self._queue_seconds = config.queue.drain_seconds
        self._draining = False
        self._log = CaptureLog()
        limits = ProxyLimits(
            max_connections=section.max_connections,
            connect_seconds=section.connect_timeout,
            first_byte_seconds=section.first_byte_timeout,
            idle_seconds=section.idle_timeout,
        )
        upstream, listen = Address.parse(section.upstream), Address.parse(section.listen)
        self.proxy = Proxy(upstream, listen, tap=self._log, limits=limits)
        log_level = logging.getLogger().getEffectiveLevel()
        opening = Open(config, config_path, overrides or {}, log_level=log_level)
        self._analyzer = AnalyzerProcess(opening, self._log, self._report, rules)
        self.admin = AdminListener(config.admin.listen, self._report, lambda: self._analyzer.admin)

    async def serve(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set, then drain: not ready first, exchanges next, the queue last.

        Raises
        ------
        ConfigError, InvalidReference, DetectorFileError
            If a setting, or something that it names, cannot serve; nothing listens then.
        """
        section = self._section
        await self._analyzer.start()
        try:
            await self.admin.start()
            try:
                await self.proxy.start()
            except OSError as error:
                raise cannot_listen("sidecar.listen", section.listen, error) from error
            log.info("listening on %s for %s", self.proxy.address, section.upstream)
            log.info("metrics on http://%s/metrics", self.admin.address)
            await stop.wait()
            self._draining = True
            log.info("draining for up to %.0f s", section.drain_seconds)
            await self.proxy.drain(section.drain_seconds)
        finally:
            await self._analyzer.stop(self._queue_seconds)
            self.admin.stop()

    def reload(self) -> None:
        """Have the configuration file read again; a bad one leaves the old one running, and says so."""
        self._analyzer.reload()

    def _report(self) -> Report:
        return Report(copy.deepcopy(self.proxy.stats), self._log.abandoned, self._draining)


def run(config: Config, config_path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> None:
    """Run a sidecar until SIGTERM or SIGINT; SIGHUP reads the configuration again. Raises as it does."""
    sidecar = Sidecar(config, config_path, overrides)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, sidecar.reload)
        await sidecar.serve(stop)

    import uvloop

    uvloop.run(main())
