"""A metric of the contract as an instrument of prometheus-client, and as a name on a registry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, Summary

from exporter.errors import ConfigError
from exporter.metrics.contract import Spec
from exporter.metrics.private import described, standing

_CLASSES: dict[str, Any] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram, "summary": Summary}


def make_instrument(spec: Spec) -> Any:
    """An instrument, on no registry."""
    options: dict[str, Any] = {}
    if spec.type == "gauge":
        options["multiprocess_mode"] = spec.multiprocess
    elif spec.type == "histogram":
        options["buckets"] = spec.buckets
    return _CLASSES[spec.type](spec.name, spec.help, spec.labels, registry=None, **options)


def family(spec: Spec) -> Metric:
    """The metric without samples."""
    name = spec.name.removesuffix("_total") if spec.type == "counter" else spec.name
    return Metric(name, spec.help, spec.type)


def refuse_taken(registry: CollectorRegistry, specs: Iterable[Spec]) -> None:
    """Raise if the registry holds anything under a name that one of the metrics needs.

    Raises
    ------
    ConfigError
        With the name, what stands there, and what to do.
    """
    for spec in specs:
        if there := standing(registry, [family(spec)]):
            name = spec.name if spec.name in there else next(iter(there))
            raise ConfigError(
                f"registry: it holds {name} already, {described(there[name])}, and this exporter has a "
                "metric of that name; take the other out, if this one counts the same, or give the exporter "
                "a registry and a path of its own: registry=CollectorRegistry(), and "
                'expose(app, endpoint="/inference-metrics")'
            )
