"""The models of a process: which there are, which of them an item belongs to, and what counts as other.

Each has a queue, an account and a pipeline of its own, so that what happens to one changes nothing of
another. All of them share one thread, and one bound of bytes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from exporter.config import Config
from exporter.config.models import is_read
from exporter.decoders.model_names import name_of, version_reader
from exporter.http.exchange import Exchange
from exporter.metrics.claims import Owner
from exporter.metrics.instruments import Instruments
from exporter.model import OTHER, ModelId, can_be_label
from exporter.pipeline.memory import Memory
from exporter.pipeline.monitor import Monitor, worker_thread
from exporter.pipeline.packing import Item
from exporter.pipeline.worker import Handler

log = logging.getLogger(__name__)


class ModelHandler(Handler, Protocol):
    """The way to one model's pipeline."""

    def reconfigured(self, config: Config) -> Callable[[], None]:
        """Prepare for another configuration of the model; what is returned takes it over, and cannot fail."""


class Models:
    """Those that the configuration names, from the start; others when an item names them, within the bounds.

    ``handler_of`` gives the way to a model's pipeline; for one that the configuration names (its second
    argument) it raises what keeps that from being made. ``owner`` is whose the models' series are.
    """

    def __init__(
        self,
        config: Config,
        instruments: Instruments,
        handler_of: Callable[[Config, bool], ModelHandler],
        *,
        owner: Owner,
    ) -> None:
        self._config = config
        self._instruments = instruments
        self._handler_of = handler_of
        self._owner, self._claims = owner, instruments.claims
        self._said: set[str] = set()
        self._handlers: dict[ModelId, ModelHandler] = {}
        # Replaced as a whole, so that nobody who reads it needs the lock.
        self._monitors: dict[ModelId, Monitor] = {}
        self._by_name: dict[str, Monitor] = {}
        self._only: Monitor | None = None
        self._begin()
        self._add(self._prepared(_beforehand(config)))

    def _begin(self) -> None:
        queue = self._config.queue
        self._making = threading.Lock()
        self._running: bool | None = None  # until the first start
        self._thread = worker_thread(queue.flush_interval_seconds, self._instruments)
        self._memory = Memory(int(queue.max_bytes), _shares(self._config))

    @property
    def all(self) -> list[Monitor]:
        """Those that there are by now."""
        return list(self._monitors.values())

    def of(self, item: Item, name: str | None = None) -> Monitor:
        """The one that an item belongs to: by ``name``, or else by what it says of itself.

        A model that nobody has met is made. What cannot be a name, and what comes beyond the bounds, belongs
        to ``other``. Never waits for anything but the making of another model's queue.
        """
        if self._only is not None:
            return self._only
        if name is None:
            if not isinstance(item, Exchange):
                name = item.model
            elif self._config.is_open or self._config.models:
                name = name_of(item)
        found = None if name is None else self._by_name.get(name)
        # One that was remembered just before a reload may be gone.
        if found is not None and self._monitors.get(found.model) is found:
            return found
        monitor = self._monitor(self._identified(name, item))
        if name == monitor.model.name and not self._config.says_version(name):
            self._by_name[name] = monitor  # no more of them than there are models
        return monitor

    def of_name(self, name: str | None) -> list[Monitor]:
        """Those of a model that somebody names, one for each version that there is; made if there is none."""
        model = self._identified(name, None)
        found = [monitor for known, monitor in self._monitors.items() if known.name == model.name]
        return found or [self._monitor(model)]

    def start(self) -> None:
        """Begin in this process, with those that come later too.

        Raises
        ------
        ConfigError
            If it was stopped, and another exporter on the same registry watches one of them since.
        """
        with self._making:
            for model in self._monitors:
                self._claims.claim(model, self._owner)
            self._running = True
            for monitor in self.all:
                monitor.start()

    def stop(self, drain_seconds: float) -> None:
        """Handle what waits of all of them, within one drain time; what comes later is refused."""
        with self._making:
            self._running = False
        deadline = time.monotonic() + drain_seconds
        for monitor in self.all:
            monitor.worker.close()
        for monitor in self.all:
            monitor.worker.stop(max(0.0, deadline - time.monotonic()))
        for monitor in self.all:
            monitor.handler.stop()
        self._claims.release(self._owner)

    def after_fork(self) -> None:
        """In a child process: the parent's threads, and what waits, are the parent's."""
        self._begin()
        for monitor in self.all:
            monitor.after_fork(self._thread, self._memory)

    def reconfigure(self, config: Config) -> None:
        """Take over another configuration, while running: models go, with their series, and others come.

        Raises
        ------
        ConfigError, InvalidReference, DetectorFileError
            If something that it names cannot serve; everything then stays as it was.
        ValueError
            If the work is done in a helper process, which keeps the configuration that it began with.
        """
        with self._making:
            kept = {model: monitor for model, monitor in self._monitors.items() if _stays(model, config)}
            prepared = [self._handlers[model].reconfigured(config.of(model)) for model in kept]
            added = self._prepared([model for model in _beforehand(config) if model not in kept], config)
            gone = [monitor for model, monitor in self._monitors.items() if model not in kept]
            self._config = config
            self._memory.divide(_shares(config))
            for take_over in prepared:
                take_over()
            self._monitors = kept
            self._add(added)
            self._handlers = {model: self._handlers[model] for model in self._monitors}
        for monitor in gone:
            monitor.remove()
            self._claims.release(self._owner, monitor.model)

    def _identified(self, name: str | None, item: Item | None) -> ModelId:
        """The model that somebody names, with the version that an item says, where that is asked for."""
        config = self._config
        if name is None or name == config.model:
            name = config.unnamed
        elif not can_be_label(name):
            if not config.is_open:
                name = config.unnamed
            else:
                self._not_a_name("model", ModelId(OTHER))
                return ModelId(OTHER)
        elif not config.takes(name):
            name = config.unnamed
        if name == OTHER or not config.says_version(name):
            return ModelId(name, "" if name == OTHER else config.fixed_version(name))
        if isinstance(item, Exchange):
            version = version_reader(config.version_address(name))(item)
        else:
            version = item.version if item is not None else None
        if version and not can_be_label(version):
            self._not_a_name("version", ModelId(name, OTHER))
            return ModelId(name, OTHER)
        return ModelId(name, version or "")

    def _not_a_name(self, field: str, model: ModelId) -> None:
        self._monitor(model).refuse(field, "not_a_name")
        if field not in self._said:
            self._said.add(field)
            log.warning("what an exchange or a client gives as its %s is no name; counted as other", field)

    def _monitor(self, model: ModelId) -> Monitor:
        monitor = self._monitors.get(model)
        if monitor is None:
            with self._making:
                model = self._within(model)
                monitor = self._monitors.get(model)
                if monitor is None:
                    self._add(self._prepared([model]))
                    monitor = self._monitors[model]
        return monitor

    def _within(self, model: ModelId) -> ModelId:
        """The model itself, if it has its place or finds one; else what it counts as."""
        config, models = self._config, self._monitors
        if model in models:
            return model
        if not self._claims.are_free(model, self._owner):
            return ModelId(model.name, OTHER) if model.version not in ("", OTHER) else ModelId(OTHER)
        # What names no model has a place besides, unless it is a named one's.
        apart = {OTHER, config.unnamed} - {*config.named}
        own = {known.name for known in models} - apart
        if model.name not in own | apart and len(own) >= config.max_models:
            return ModelId(OTHER)
        versions = {known.version for known in models if known.name == model.name} - {"", OTHER}
        if model.version not in ("", OTHER) and len(versions) >= config.max_versions:
            return ModelId(model.name, OTHER)
        return model

    def _prepared(self, models: list[ModelId], config: Config | None = None) -> dict[ModelId, Monitor]:
        """Monitors that are not in place yet; if one cannot be made, none leaves a trace."""
        config = self._config if config is None else config
        made: dict[ModelId, Monitor] = {}
        try:
            for model in models:
                self._claims.claim(model, self._owner)
        except Exception:
            self._claims.release(self._owner, *models)
            raise
        try:
            for model in models:
                own = config.of(model)
                known = model.name in config.named
                handler = self._handlers[model] = self._handler_of(own, known)
                made[model] = Monitor(
                    own, self._instruments, handler, thread=self._thread, memory=self._memory
                )
        except Exception:
            for monitor in made.values():
                monitor.remove()
            for model in models:
                self._instruments.remove_model(model)
                self._handlers.pop(model, None)
            self._claims.release(self._owner, *models)
            raise
        return made

    def _add(self, made: dict[ModelId, Monitor]) -> None:
        for monitor in made.values():
            if self._running:
                monitor.start()
            elif self._running is not None:
                monitor.worker.stop(0.0)
        self._monitors = {**self._monitors, **made}
        self._by_name = {}
        config = self._config
        asked = config.is_open or config.models or is_read(config.version)
        self._only = None if asked else next(iter(self._monitors.values()))


def _beforehand(config: Config) -> list[ModelId]:
    """Models that exist with 0, whatever comes."""
    named = [ModelId(name, config.fixed_version(name)) for name in config.named]
    return [*named, ModelId(OTHER)] if config.is_open else named


def _stays(model: ModelId, config: Config) -> bool:
    """Whether a model is one of another configuration too."""
    if model.name == OTHER and OTHER not in config.named:
        return config.is_open
    own = config.takes(model.name) or model.name == config.unnamed
    return own and (config.says_version(model.name) or model.version == config.fixed_version(model.name))


def _shares(config: Config) -> int:
    """How many queues there may be."""
    models = config.max_models + 2 if config.is_open else len(config.named)
    says_version = any(map(config.says_version, (config.unnamed, *config.models)))
    versions = config.max_versions + 1 if says_version else 1
    return models * versions
