"""The analyzer: the sidecar's process that reads what passed, and answers scrapes.

It has everything but the data plane: reading, metrics, detectors, the ingest API and the admin listener.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from exporter.config import Config
from exporter.config.loading import load_config
from exporter.errors import ConfigError, InferenceExporterError
from exporter.http.exchange import Exchange
from exporter.http.http1.follower import Passed
from exporter.http.paths import path_matcher
from exporter.metrics.http import HttpMetrics
from exporter.processes.framing import Link
from exporter.processes.spawn import settle_in
from exporter.receivers.proxy.capture_log_reader import CaptureLogReader
from exporter.runtime import Runtime
from exporter.sidecar.admin import admin_app
from exporter.sidecar.ingest import Ingest
from exporter.sidecar.messages import Open, Opened, Refused, Reload, Report, Told, unpacked
from exporter.sidecar.proxy_metrics import PlaneMetrics
from exporter.sidecar.server import ServerThread

log = logging.getLogger(__name__)

_RESTART_SECTIONS = ("model", "queue", "sidecar", "admin", "ingest", "labels", "collector")


class Analyzer:
    """Reads segments of the capture log; see the module.

    Parameters
    ----------
    config
        With a ``sidecar`` section.
    path
        Read again when the data plane says so.

    Raises
    ------
    ConfigError, InvalidReference, DetectorFileError
        If a setting, or something that it names, cannot serve.
    """

    def __init__(self, config: Config, path: Path | None = None) -> None:
        self.config = config
        self._path = path
        self.report: Report | None = None
        self.runtime = Runtime(config, sidecar=True)
        instruments = self.runtime.instruments
        self._reloaded = instruments["inference_exporter_config_reload_success"]
        self._reloaded.set(1)
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
        self.admin = ServerThread(app, config.admin.listen, key="admin.listen")
        self._plane = PlaneMetrics(instruments, self.reader)
        instruments.before_collect(lambda: self._plane.publish(self.report))

    def readiness(self) -> tuple[bool, str]:
        """Whether traffic can be served: the upstream takes connections, and no stop is under way."""
        report = self.report
        if report is None:
            return False, "starting"
        if report.draining:
            return False, "draining"
        if not report.stats.upstream_up:
            return False, f"upstream not reachable: {report.stats.upstream_error}"
        return True, "ready"

    def start(self) -> None:
        """Start the runtime and the admin listener."""
        self.runtime.start()
        self.admin.start()

    def stop(self) -> None:
        """Handle what waits, and stop."""
        if self.ingest is not None:
            self.ingest.app.flush()
        self.runtime.stop()
        self.admin.stop()

    def reload(self) -> bool:
        """Read the configuration file again; a bad one leaves the old one running, and says so."""
        if self._path is None:
            log.warning("no configuration file was given, so there is none to read again")
            return False
        try:
            config = load_config(self._path)
            config = config.model_copy(update={"sidecar": self.config.sidecar, "admin": self.config.admin})
            changed = [key for key in _RESTART_SECTIONS if getattr(config, key) != getattr(self.config, key)]
            if changed:
                raise ConfigError(f"{', '.join(changed)}: changed, which needs a restart")
            self.runtime.reconfigure(config)
        except InferenceExporterError as error:
            log.error("%s was not taken over, the old configuration goes on: %s", self._path, error)
            self._reloaded.set(0)
            return False
        self.config = config
        self._http.match = path_matcher(config.capture.paths)
        self.reader.forget_heads()
        self._reloaded.set(1)
        log.info("%s was read again", self._path)
        return True

    def _deliver(self, exchanges: list[Exchange], passed: list[Passed]) -> None:
        self._http.observe(exchanges)
        self._http.count(passed)
        for exchange in exchanges:
            if exchange.predicts:
                self.runtime.submit(exchange, "sidecar")


def serve(link: Link, analyzer: Analyzer) -> None:
    """Do what the data plane says, until it has ended."""
    while (message := link.receive()) is not None:
        if isinstance(message, memoryview):
            standings = analyzer.reader.read(unpacked(message))
            if standings:
                link.send(Told(standings))
        elif isinstance(message, Report):
            analyzer.report = message
        elif isinstance(message, Reload):
            analyzer.reload()


def main(descriptor: int) -> None:
    """The analyzer's own process; the data plane is at the other end of the socket."""
    link = Link(settle_in(descriptor))
    opening = link.receive()
    if not isinstance(opening, Open):
        return
    logging.basicConfig(level=opening.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with suppress(BrokenPipeError, ConnectionResetError):  # the data plane is gone
        try:
            analyzer = Analyzer(opening.config, opening.path)
            analyzer.start()
        except InferenceExporterError as error:
            link.send(Refused(error))
            return
        link.send(Opened(analyzer.admin.address))
        serve(link, analyzer)
        analyzer.stop()
