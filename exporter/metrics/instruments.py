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

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, Summary
from prometheus_client.registry import Collector

from exporter.errors import ConfigError
from exporter.metrics.contract import (
    DETECTOR_STATES,
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
    REFERENCE_SOURCES,
    SIDECAR,
    SOURCES,
    Spec,
)
from exporter.metrics.private import described, series_of, series_with_buckets, standing
from exporter.metrics.totals import Totals
from exporter.model import ModelId
from exporter.version import __version__

log = logging.getLogger(__name__)

_REFERENCE = ("timestamp_seconds", "rows", "drifting_ratio")
_BEHIND_DETECTOR = {
    "state": [(state,) for state in DETECTOR_STATES],
    "source": [(source,) for source in REFERENCE_SOURCES],
}


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
        self._names = []
        for spec in (*specs, *FORWARD):
            self._names.append(family(spec))
            if there := standing(registry, self._names[-1:]):
                name = spec.name if spec.name in there else next(iter(there))
                raise ConfigError(_taken(name, there[name]))
        self._by_name: dict[str, Any] = {}
        self._add(*specs, *(FORWARD if forward else ()))
        self._before_collect: list[Callable[[], None]] = []
        self._claims: dict[ModelId, object] = {}
        self.totals = Totals()  # of what is counted once for the process, whichever exporter carries it over
        self._lock = threading.Lock()
        self["inference_exporter_build_info"].labels(version=__version__).set(1)
        self.errors = {stage: self["inference_exporter_errors_total"].labels(stage) for stage in ERROR_STAGES}
        registry.register(self)

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
        self._by_name = {**self._by_name, **{spec.name: instrument(spec) for spec in specs}}

    def claim(self, model: ModelId, owner: object) -> None:
        """Have a model's series to oneself, until they are released.

        Raises
        ------
        ConfigError
            If another exporter has them: the sums would be of two.
        """
        with self._lock:
            if self._claims.setdefault(model, owner) is not owner:
                raise ConfigError(
                    f"model: {str(model)!r} is watched by another exporter on the same registry; give one of "
                    "the two another model or version, stop() the other, or pass registry=CollectorRegistry()"
                )

    def has_another(self, model: ModelId, owner: object) -> bool:
        """Whether somebody else has claimed a model's series."""
        return self._claims.get(model, owner) is not owner

    def release(self, owner: object, *models: ModelId) -> None:
        """Let others have what ``owner`` claimed, or these of it.

        Instruments that nobody has used yet leave the registry.
        """
        with self._lock:
            self._claims = {
                model: each
                for model, each in self._claims.items()
                if each is not owner or (models and model not in models)
            }
            unused = not self._claims and not self._before_collect
        if unused:
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
        """Take every series of a model off the scrape, lest an alert on one stays up for ever."""
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
        return self._names

    def after_fork(self) -> None:
        """In a child process: a lock that a thread of the parent held is nobody's to release."""
        self._lock = threading.Lock()

    def unregister(self) -> None:
        """Take everything off the registry."""
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


class DetectorInstruments:
    """The children of one detector of one model."""

    def __init__(self, instruments: Instruments, model: ModelId, detector: str) -> None:
        def child(name: str) -> Any:
            return instruments[name].labels(*model, detector)

        self._instruments = instruments
        self._labels = (*model, detector)
        self.test_stat = child("drift_test_stat")
        self.test_stat_last = child("drift_test_stat_last")
        self.threshold = child("drift_threshold")
        self.score_ratio = child("drift_score_ratio")
        self.active = child("drift_active")
        self.events = child("drift_events_total")
        self.episodes = child("drift_episodes_total")
        self.last_test_timestamp = child("drift_last_test_timestamp_seconds")
        self.expected_run_length = child("drift_expected_run_length")
        self.calibration_ok = child("drift_calibration_ok")
        self.detect_seconds = child("inference_exporter_detect_seconds")
        states = instruments["drift_detector_state"]
        self._states = {state: states.labels(*model, detector, state) for state in DETECTOR_STATES}
        self.learning_ratio = child("drift_learning_ratio")
        self._reference = [child(f"drift_reference_{what}") for what in _REFERENCE]
        sources = instruments["drift_reference_info"]
        self._sources = {each: sources.labels(*model, detector, each) for each in REFERENCE_SOURCES}

    def remove(self) -> None:
        """Take all of them off the scrape."""
        for spec in (*DRIFT, *OPERATION):
            if "detector" not in spec.labels:
                continue
            for rest in _BEHIND_DETECTOR.get(spec.labels[-1], ((),)):
                self._instruments[spec.name].remove(*self._labels, *rest)

    def enter_state(self, state: str) -> None:
        """Show one state as 1 and all others as 0."""
        for name, child in self._states.items():
            child.set(1 if name == state else 0)

    def show_reference(self, source: str, *shown: float) -> None:
        """Show where the reference came from; its time, its rows, and the share from while it drifted."""
        for name, child in self._sources.items():
            child.set(1 if name == source else 0)
        for gauge, value in zip(self._reference, shown, strict=True):
            gauge.set(value)


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


_CLASSES: dict[str, Any] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram, "summary": Summary}


def instrument(spec: Spec) -> Any:
    """A metric of the contract as an instrument of prometheus-client, on no registry."""
    options: dict[str, Any] = {}
    if spec.type == "gauge":
        options["multiprocess_mode"] = spec.multiprocess
    elif spec.type == "histogram":
        options["buckets"] = spec.buckets
    return _CLASSES[spec.type](spec.name, spec.help, spec.labels, registry=None, **options)


def family(spec: Spec) -> Metric:
    """A metric of the contract without its samples."""
    return Metric(
        spec.name.removesuffix("_total") if spec.type == "counter" else spec.name, spec.help, spec.type
    )


def _taken(name: str, collector: Collector) -> str:
    return (
        f"registry: it holds {name} already, {described(collector)}, and this exporter has a metric of that "
        "name; take the other out, if this one counts the same, or give the exporter a registry and a path "
        'of its own: registry=CollectorRegistry(), and expose(app, endpoint="/inference-metrics")'
    )
