"""The contract of :mod:`exporter.metrics.contract` as live Prometheus instruments on one registry.

Instruments are not registered one by one: a single collector stands for all of them, so that
whatever has to be consistent at a scrape (the ledger, above all) is brought up to date just before
they are read, whoever does the rendering.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from exporter.metrics.claims import Claims, Owner
from exporter.metrics.contract import (
    DRIFT,
    DROP_REASONS,
    ERROR_STAGES,
    FORWARD,
    INGEST,
    INVALID_VALUES,
    LEDGER,
    OPERATION,
    OTHER_CLASS,
    PREDICTIONS,
    SIDECAR,
    SOURCES,
    Spec,
)
from exporter.metrics.making import family, make_instrument, refuse_taken
from exporter.metrics.private import series_of, series_with_buckets, standing
from exporter.metrics.totals import Totals
from exporter.model import ModelId
from exporter.version import __version__

log = logging.getLogger(__name__)


class Instruments(Collector):
    """All instruments on one registry; several exporters share them, each with models of its own.

    Parameters
    ----------
    registry
        Where they appear.
    sidecar
        Whether to carry the sidecar's own metrics. (The HTTP ones come from elsewhere: in the hook from
        prometheus-fastapi-instrumentator, in the sidecar from :mod:`exporter.metrics.http`.)
    forward
        Whether to carry the metrics of a client that sends to a collector.
    shared_folder
        The folder through which the processes of a pre-fork server share their values; None if there is
        one process. Decided once, by the composition root; whoever has to know asks here.

    Raises
    ------
    ConfigError
        If the registry holds something else under one of the names.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        sidecar: bool = False,
        forward: bool = False,
        shared_folder: Path | None = None,
    ) -> None:
        self.registry = registry
        self.shared_folder = shared_folder
        specs = (*PREDICTIONS, *DRIFT, *LEDGER, *OPERATION, *(SIDECAR + INGEST if sidecar else ()))
        # An exporter that shares these may be the first one with a collector.
        refuse_taken(registry, (*specs, *FORWARD))
        self._families = [family(spec) for spec in (*specs, *FORWARD)]
        self._by_name: dict[str, Any] = {}
        self._add(*specs, *(FORWARD if forward else ()))
        self._before_collect: list[Callable[[], None]] = []
        self.claims = Claims()
        self.totals = Totals()  # of what is counted once for the process, whichever exporter carries it over
        self._lock = threading.Lock()
        self["inference_exporter_build_info"].labels(version=__version__).set(1)
        self.errors = {stage: self["inference_exporter_errors_total"].labels(stage) for stage in ERROR_STAGES}
        registry.register(self)
        self._registered = True

    @classmethod
    def on(
        cls, registry: CollectorRegistry, *, forward: bool = False, shared_folder: Path | None = None
    ) -> Instruments:
        """Those that an exporter of this process has put on a registry, or new ones."""
        for found in standing(registry, [family(spec) for spec in LEDGER]).values():
            if isinstance(found, cls):
                if forward:
                    found._add(*(spec for spec in FORWARD if spec.name not in found._by_name))
                return found
        return cls(registry, forward=forward, shared_folder=shared_folder)

    def _add(self, *specs: Spec) -> None:
        self._by_name = {**self._by_name, **{spec.name: make_instrument(spec) for spec in specs}}

    def leave(self, owner: Owner) -> None:
        """Let others have the models of ``owner``; what nobody has come to use leaves the registry."""
        self.claims.release(owner)
        if self._registered and not self.claims and not self._before_collect:
            self.unregister()

    def __getitem__(self, name: str) -> Any:
        """The instrument of that name in the contract."""
        return self._by_name[name]

    def children(self) -> Iterator[tuple[str, tuple[str, ...], Any]]:
        """Every series there is: its instrument's name, the values of its labels, and the instrument."""
        for name, instrument in self._by_name.items():
            for labels, child in series_of(instrument):
                yield name, labels, child

    def before_collect(self, refresh: Callable[[], None]) -> None:
        """Call ``refresh`` before each scrape."""
        self._before_collect.append(refresh)

    def no_longer(self, refresh: Callable[[], None]) -> None:
        """Call ``refresh`` no more."""
        with self._lock:
            self._before_collect.remove(refresh)

    def remove_model(self, model: ModelId) -> None:
        """Take every series of a model off the scrape, lest an alert on one stays up for ever.

        Where processes share their values they stay: what is in the folder is not one process's to remove.
        """
        if self.shared_folder is not None:
            return
        for instrument in self._by_name.values():
            for labels, _ in list(series_of(instrument)):
                if labels[:2] == model:  # no other label has these values and stands in front
                    instrument.remove(*labels)

    def refresh(self) -> None:
        """Bring everything up to date now, for scrapes that another process answers."""
        with self._lock:
            self._refresh()

    def collect(self) -> Iterable[Metric]:
        """What a scrape reads, all of it as of one instant, also when two scrapes overlap."""
        with self._lock:
            self._refresh()
            metrics = [metric for instrument in self._by_name.values() for metric in instrument.collect()]
        for metric in metrics:
            # One more series for each counter and histogram, and of no use to any query.
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
        return metrics

    def _refresh(self) -> None:
        for refresh in self._before_collect:
            try:
                refresh()
            except Exception:
                log.exception("a metric could not be brought up to date")

    def describe(self) -> Iterable[Metric]:
        """The names, so that the registry can tell when one is taken."""
        return self._families

    def after_fork(self) -> None:
        """In a child process: a lock that a thread of the parent held is nobody's to release."""
        self._lock = threading.Lock()
        self.claims.after_fork()

    def unregister(self) -> None:
        """Take everything off the registry."""
        self._registered = False
        self.registry.unregister(self)


class ModelInstruments:
    """One model's children, looked up once; the classes among them are capped in number."""

    def __init__(
        self,
        instruments: Instruments,
        model: ModelId,
        *,
        max_classes: int,
        value_buckets: Sequence[float] = (),
    ) -> None:
        self.confidence = instruments["prediction_confidence"].labels(*model)
        # Models have units of their own.
        self.value = series_with_buckets(instruments["prediction_value"], model, value_buckets)
        self.lag_seconds = instruments["inference_exporter_lag_seconds"].labels(*model)
        self._instruments = instruments
        self._classes = instruments["predicted_class_total"]
        self._model = model
        self.max_classes = max_classes
        self._class_children: dict[str, Any] = {}
        self._other = self._classes.labels(*model, OTHER_CLASS)

    def count_class(self, class_name: str, n: int = 1) -> None:
        """Count ``n`` predictions of a class; from the ``max_classes``-th on, new ones are ``other``."""
        child = self._class_children.get(class_name)
        if child is None:
            if class_name == OTHER_CLASS or len(self._class_children) >= self.max_classes:
                child = self._other
            else:
                child = self._class_children[class_name] = self._classes.labels(*self._model, class_name)
        child.inc(n)

    def know(self, class_names: Iterable[str]) -> None:
        """Count classes under their own names that are shown under them already."""
        for name in class_names:
            if name != OTHER_CLASS:
                self._class_children[name] = self._classes.labels(*self._model, name)

    def known(self) -> list[str]:
        """The classes that are shown under their own names, by whomever they were counted."""
        return [
            labels[2]
            for name, labels, _ in self._instruments.children()
            if name == "predicted_class_total" and labels[:2] == self._model and labels[2] != OTHER_CLASS
        ]


class InvalidValues:
    """Counts one model's values that were found but are not valid; called with (field, reason)."""

    def __init__(self, instruments: Instruments, model: ModelId) -> None:
        values = instruments["inference_exporter_invalid_values_total"]
        self._children = {key: values.labels(*model, *key) for key in INVALID_VALUES}

    def __call__(self, field: str, reason: str, n: int = 1) -> None:
        """Count ``n`` of them; a pair outside of the contract counts as nothing."""
        child = self._children.get((field, reason))
        if child is not None:
            child.inc(n)


class LedgerInstruments:
    """The children of one model's ledger."""

    def __init__(self, instruments: Instruments, model: ModelId) -> None:
        observed = instruments["inference_exporter_observations_total"]
        dropped = instruments["inference_exporter_dropped_total"]
        self.observed = {source: observed.labels(*model, source) for source in SOURCES}
        self.ended = {reason: dropped.labels(*model, reason) for reason in DROP_REASONS}
        for outcome in ("processed", "sampled_out"):
            self.ended[outcome] = instruments[f"inference_exporter_{outcome}_total"].labels(*model)
        self.queued = instruments["inference_exporter_queued"].labels(*model)
        self.queue_bytes = instruments["inference_exporter_queue_bytes"].labels(*model)
