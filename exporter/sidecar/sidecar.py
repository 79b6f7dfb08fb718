"""The sidecar: data plane, observer, runtime and admin listener, put together and run."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

from exporter.capture.exchange import Exchange
from exporter.capture.http1 import Passed
from exporter.capture.observer import LogObserver
from exporter.capture.paths import path_matcher
from exporter.capture.plane.address import Address
from exporter.capture.plane.limits import ProxyLimits
from exporter.capture.plane.proxy import Proxy
from exporter.config import Config, SidecarConfig
from exporter.config_file import load_config
from exporter.errors import ConfigError, InferenceExporterError
from exporter.ingest.sink import Ingest
from exporter.runtime import Runtime
from exporter.sidecar.admin import admin_app
from exporter.sidecar.http_metrics import HttpMetrics
from exporter.sidecar.plane_metrics import PlaneMetrics
from exporter.sidecar.server import ServerThread

log = logging.getLogger(__name__)

_SWITCH_SECONDS = 0.0005
_RESTART_SECTIONS = ("model", "queue", "sidecar", "admin", "ingest", "labels", "collector")


class Sidecar:
    """A sidecar in front of one upstream.

    Parameters
    ----------
    config
        With a ``sidecar`` section.
    config_path
        Read again at SIGHUP.

    Raises
    ------
    ConfigError, InvalidReference, DetectorFileError
        If a setting, or something that it names, cannot serve; nothing listens then.
    """

    def __init__(self, config: Config, config_path: Path | None = None) -> None:
        if config.sidecar is None:
            raise ConfigError(
                "sidecar: is required and was not given; add sidecar: {upstream: http://HOST:PORT}"
            )
        self.config = config
        self._path = config_path
        self._draining = False
        self.runtime = Runtime(config, sidecar=True)
        instruments = self.runtime.instruments
        self._reloaded = instruments["inference_exporter_config_reload_success"]
        self._reloaded.set(1)
        self._http = HttpMetrics(path_matcher(config.capture.paths), self.runtime.registry)
        self.observer = LogObserver(
            lambda _, path: self._http.match(path) is not None,
            self._deliver,
            max_body_bytes=int(config.capture.max_body_bytes),
            max_kept_bytes=int(config.queue.max_bytes),
        )
        self.proxy = Proxy(
            Address.parse(config.sidecar.upstream),
            Address.parse(config.sidecar.listen),
            tap=self.observer,
            limits=_limits(config.sidecar),
        )
        self.ingest = Ingest(self.runtime) if config.ingest.enabled else None
        app = admin_app(
            self.runtime,
            readiness=self.readiness,
            ingest=self.ingest.app if self.ingest is not None else None,
        )
        self.admin = ServerThread(app, config.admin.listen, key="admin.listen")
        plane = PlaneMetrics(instruments, self.proxy.stats, self.observer)
        instruments.before_collect(plane.publish)

    def readiness(self) -> tuple[bool, str]:
        """Whether traffic can be served: the upstream takes connections, and no stop is under way."""
        if self._draining:
            return False, "draining"
        stats = self.proxy.stats
        if not stats.upstream_up:
            return False, f"upstream not reachable: {stats.upstream_error}"
        return True, "ready"

    async def serve(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set, then drain: not ready first, exchanges next, the queue last.

        Raises
        ------
        ConfigError
            If the address to listen on cannot be had.
        """
        sidecar = self._section
        self.runtime.start()
        self.observer.start()
        try:
            await self.proxy.start()
        except OSError as error:
            self.observer.stop()
            self.runtime.stop()
            raise ConfigError(
                f"sidecar.listen: {sidecar.listen!r} cannot be listened on "
                f"({error.strerror or error}); give a free address of this host, HOST:PORT"
            ) from error
        self.admin.start()
        log.info("listening on %s for %s", self.proxy.address, sidecar.upstream)
        log.info("metrics on http://%s/metrics", self.admin.address)
        await stop.wait()
        self._draining = True
        log.info("draining for up to %.0f s", sidecar.drain_seconds)
        await self.proxy.drain(sidecar.drain_seconds)
        await asyncio.to_thread(self._close)

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
        self._reloaded.set(1)
        log.info("%s was read again", self._path)
        return True

    @property
    def _section(self) -> SidecarConfig:
        if self.config.sidecar is None:
            raise ConfigError("sidecar: is required")
        return self.config.sidecar

    def _close(self) -> None:
        self.observer.stop()
        if self.ingest is not None:
            self.ingest.app.flush()
        self.runtime.stop()
        self.admin.stop()

    def _deliver(self, exchanges: list[Exchange], passed: list[Passed]) -> None:
        self._http.observe(exchanges)
        self._http.observe(passed)
        for exchange in exchanges:
            if not exchange.aborted and 200 <= exchange.status < 300:
                self.runtime.submit(exchange, "sidecar")


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
        loop.add_signal_handler(signal.SIGHUP, lambda: loop.run_in_executor(None, sidecar.reload))
        await sidecar.serve(stop)

    import uvloop
    from threadpoolctl import threadpool_limits

    # One thread for the detectors' matrix products: more of them would take the cores from the data
    # plane and the service, and spin while they wait.
    threadpool_limits(limits=1, user_api="blas")
    # A thread that wants the interpreter lock asks for it after this long. The event loop must not wait
    # for the default, 5 ms, whenever the observer or the worker has it.
    sys.setswitchinterval(_SWITCH_SECONDS)
    uvloop.run(main())


def _limits(config: SidecarConfig) -> ProxyLimits:
    return ProxyLimits(
        max_connections=config.max_connections,
        connect_seconds=config.connect_timeout,
        first_byte_seconds=config.first_byte_timeout,
        idle_seconds=config.idle_timeout,
    )
