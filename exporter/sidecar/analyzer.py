"""The analyzer: the sidecar's process that reads what was forwarded, and answers scrapes.

It has everything but the data plane and the listeners: reading, metrics, detectors, the admin application.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from exporter.config.loading import load_config
from exporter.errors import ConfigError, InferenceExporterError
from exporter.http.exchange import Exchange
from exporter.http.http1.transactions import ExchangeSummary
from exporter.http.paths import path_matcher
from exporter.metrics.http import HttpMetrics
from exporter.processes.framing import Link
from exporter.processes.heartbeat import Heartbeat
from exporter.processes.messages import Refused
from exporter.processes.spawn import settle_in
from exporter.receivers.proxy.capture_log_reader import CaptureLogReader
from exporter.runtime import Runtime
from exporter.sidecar.admin import admin_app
from exporter.sidecar.ingest import Ingest
from exporter.sidecar.messages import Open, Opened, Reload, Reloaded, Report, Seen, Told, unpacked
from exporter.sidecar.proxy_metrics import PlaneMetrics
from exporter.sidecar.reload import needing_restart
from exporter.sidecar.server import ServerThread, private_listener

log = logging.getLogger(__name__)


class Analyzer:
    """Reads segments of the capture log; see the module.

    Parameters
    ----------
    opening
        The configuration in force, with a ``sidecar`` section, and where to read it again.

    Raises
    ------
    ConfigError, InvalidReference, DetectorFileError
        If a setting, or something that it names, cannot serve.
    """

    def __init__(self, opening: Open) -> None:
        self.config = config = opening.config
        self._opening = opening
        self.report: Report | None = None
        self.runtime = Runtime(config, sidecar=True)
        instruments = self.runtime.instruments
        self.reload_success = opening.reload_success
        instruments["inference_exporter_config_reload_success"].set_function(lambda: self.reload_success)
        self._http = HttpMetrics(path_matcher(config.capture.paths), self.runtime.registry)
        self.reader = CaptureLogReader(
            lambda _, path: self._http.match(path) is not None,
            self._deliver,
            max_body_bytes=int(config.capture.max_body_bytes),
            max_kept_bytes=int(config.queue.max_bytes),
        )
        self.ingest = Ingest(self.runtime) if config.ingest.enabled else None
        app = admin_app(
            self.runtime,
            readiness=self.readiness,
            ingest=self.ingest.app if self.ingest is not None else None,
        )
        self.admin = ServerThread(app, private_listener())
        self._plane = PlaneMetrics(instruments, self.reader)
        instruments.before_collect(lambda: self._plane.publish(self.report))

    def readiness(self) -> tuple[bool, str]:
        """Whether traffic can be served, as the data plane last said."""
        return (False, "starting") if self.report is None else self.report.readiness()

    def start(self) -> None:
        """Start the runtime and the admin application."""
        self.runtime.start()
        self.admin.start()

    def stop(self) -> None:
        """Handle what waits, and stop."""
        if self.ingest is not None:
            self.ingest.app.flush()
        self.runtime.stop()
        self.admin.stop()

    def reload(self) -> None:
        """Read the configuration file again; a bad one leaves the old one running, and says so."""
        path = self._opening.path
        if path is None:
            log.warning("no configuration file was given, so there is none to read again")
            return
        try:
            config = load_config(path, overrides=self._opening.overrides)
            changed = needing_restart(self.config, config)
            if changed:
                raise ConfigError(f"{', '.join(changed)}: changed, which needs a restart")
            self.runtime.reconfigure(config)
            self._http.match = path_matcher(config.capture.paths)
            self.reader.forget_heads()
        except Exception as error:
            known = isinstance(error, InferenceExporterError)
            log.error(
                "%s was not taken over, the old configuration goes on: %s", path, error, exc_info=not known
            )
            self.reload_success = False
            return
        self.config, self.reload_success = config, True
        log.info("%s was read again", path)

    def _deliver(self, exchanges: list[Exchange], summaries: list[ExchangeSummary]) -> None:
        self._http.observe(exchanges)
        self._http.count(summaries)
        for exchange in exchanges:
            if exchange.predicts:
                self.runtime.submit(exchange, "sidecar")


def serve(link: Link) -> None:
    """Be the analyzer of the data plane at the other end, until that has ended."""
    opening = link.receive()
    if not isinstance(opening, Open):
        return
    logging.basicConfig(level=opening.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    heartbeat = Heartbeat(link)
    with suppress(BrokenPipeError, ConnectionResetError):  # the data plane is gone
        try:
            with heartbeat.working():
                analyzer = Analyzer(opening)
                analyzer.start()
        except InferenceExporterError as error:
            link.send(Refused(error))
            return
        link.send(Opened(analyzer.admin.listener.getsockname()))
        try:
            _read(link, analyzer, heartbeat)
        finally:
            analyzer.stop()


def _read(link: Link, analyzer: Analyzer, heartbeat: Heartbeat) -> None:
    while (message := link.receive()) is not None:
        if isinstance(message, memoryview):
            standings = analyzer.reader.read(unpacked(message))
            if standings:
                link.send(Told(standings))
        elif isinstance(message, Report):
            analyzer.report = message
            link.send(Seen())
        elif isinstance(message, Reload):
            with heartbeat.working():
                analyzer.reload()
            link.send(Reloaded(analyzer.config, analyzer.reload_success))


def main(descriptor: int) -> None:
    """The analyzer's own process."""
    serve(Link(settle_in(descriptor)))
