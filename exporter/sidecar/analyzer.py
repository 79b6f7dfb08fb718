"""The analyzer: the sidecar's process that reads what was forwarded, and answers scrapes.

It has everything but the data plane and the listeners: reading, metrics, detectors, the admin application.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from exporter.config import Config
from exporter.config.base import Section
from exporter.config.loading import load_config
from exporter.config.models import fitting
from exporter.errors import ConfigError, InferenceExporterError
from exporter.http.exchange import Exchange
from exporter.http.http1.transactions import ExchangeSummary
from exporter.http.paths import path_matcher
from exporter.metrics.http import HttpMetrics
from exporter.model import ModelId
from exporter.processes.child import Heartbeat, serve, settle_in
from exporter.processes.framing import Link
from exporter.receivers.proxy.capture_log_reader import CaptureLogReader
from exporter.receivers.proxy.stats import ProxyStats
from exporter.runtime import Runtime
from exporter.sidecar.admin import admin_app
from exporter.sidecar.ingest import Ingest
from exporter.sidecar.messages import Open, Opened, Reload, Reloaded, Report, Seen, unpacked
from exporter.sidecar.proxy_metrics import ProxyMetrics
from exporter.sidecar.server import ServerThread, private_listener

log = logging.getLogger(__name__)

_CAPTURE = ("embedder", "fields", "max_classes", "numbers", "paths", "payload")
_MODELS = ("model", "models", "max_models", "version", "max_versions")
TAKEN_OVER = frozenset({"alerts", "drift", *_MODELS, *(f"capture.{name}" for name in _CAPTURE)})
"""Keys, and sections with all that is in them, that a reload takes over. Any other needs a restart."""


class Analyzer:
    """Reads segments of the capture log that come over ``link``, once called until nothing comes any more."""

    def __init__(self, link: Link, opening: Open, heartbeat: Heartbeat) -> None:
        logging.basicConfig(level=opening.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._link = link
        self._heartbeat = heartbeat
        self._opening = opening
        self._config = config = opening.config
        self._reload_success = opening.reload_success
        self._report = Report(ProxyStats(), 0, draining=False)
        self._runtime = Runtime(config, sidecar=True)
        instruments = self._runtime.instruments
        instruments["inference_exporter_config_reload_success"].set_function(lambda: self._reload_success)
        self._http = HttpMetrics(path_matcher(config.capture.paths), self._runtime.registry)
        self._reader = CaptureLogReader(
            lambda _, path: self._http.match(path) is not None,
            self._deliver,
            max_body_bytes=int(config.capture.max_body_bytes),
            max_kept_bytes=int(config.queue.max_bytes),
        )
        proxy_metrics = ProxyMetrics(instruments, self._reader)
        instruments.before_collect(lambda: proxy_metrics.publish(self._report))
        self._ingest = Ingest(self._runtime).app if config.ingest.enabled else None
        app = admin_app(self._runtime, readiness=self._readiness, ingest=self._ingest)
        self._admin = ServerThread(app, private_listener())
        self._runtime.start()
        self._admin.start()

    def __call__(self) -> None:
        try:
            self._link.send(Opened(self._admin.listener.getsockname()))
            while (message := self._link.receive()) is not None:
                self._take_in(message)
        finally:
            if self._ingest is not None:
                self._ingest.flush()
            self._runtime.stop()
            self._admin.stop()

    def _take_in(self, message: memoryview | Report | Reload) -> None:
        if isinstance(message, memoryview):
            standings = self._reader.read(unpacked(message))
            if standings:
                self._link.send(standings)
        elif isinstance(message, Report):
            self._report = message
            self._link.send(Seen())
        else:
            with self._heartbeat.working():
                self._reload()
            self._link.send(Reloaded(self._config, self._reload_success))

    def _readiness(self) -> tuple[bool, str]:
        return self._report.readiness()

    def _reload(self) -> None:
        """Read the configuration file again; a bad one leaves the old one running, and says so."""
        path = self._opening.path
        if path is None:
            log.warning("no configuration file was given, so there is none to read again")
            return
        try:
            config = load_config(path, overrides=self._opening.overrides)
            watched = [monitor.model for monitor in self._runtime.models.all]
            changed = needing_restart(self._config, config) or of_models(self._config, config, watched)
            if changed:
                raise ConfigError(f"{', '.join(changed)}: changed, which needs a restart")
            self._runtime.reconfigure(config)
            if self._ingest is not None:
                self._ingest.model = config.unnamed
            self._http.match = path_matcher(config.capture.paths)
            self._reader.forget_heads()
        except Exception as error:
            known = isinstance(error, InferenceExporterError)
            text = "%s was not taken over, the old configuration goes on: %s"
            log.error(text, path, error, exc_info=not known)
            self._reload_success = False
            return
        self._config, self._reload_success = config, True
        log.info("%s was read again", path)

    def _deliver(self, exchanges: list[Exchange], summaries: list[ExchangeSummary]) -> None:
        self._http.observe(exchanges)
        self._http.count(summaries)
        for exchange in exchanges:
            if exchange.predicts:
                self._runtime.submit(exchange, "sidecar")


def needing_restart(old: object, new: object, key: str = "") -> list[str]:
    """The keys that differ and are not taken over while running, as they are written in messages."""
    if old == new or key in TAKEN_OVER:
        return []
    if not isinstance(old, Section) or type(old) is not type(new):
        return [key]
    found: list[str] = []
    for name in type(old).model_fields:
        found += needing_restart(getattr(old, name), getattr(new, name), f"{key}.{name}" if key else name)
    return found


def of_models(old: Config, new: Config, watched: Iterable[ModelId]) -> list[str]:
    """The same of single models, among those that are watched, as :data:`TAKEN_OVER` has it for all."""
    found: dict[str, None] = {}
    for model in watched:
        key = fitting(new.models, model.name) or fitting(old.models, model.name)
        if key is not None and new.takes(model.name):
            changed = needing_restart(old.of(model), new.of(model))
            found.update(dict.fromkeys(f"models.{key}.{name}" for name in changed))
    return list(found)


def main(descriptor: int) -> None:
    """The analyzer's own process."""
    serve(settle_in(descriptor), Analyzer)
