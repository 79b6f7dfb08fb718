"""A process's way to a collector: the client, its account in the metrics, what each pipeline hands to it."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from exporter.config import CollectorConfig, QueueConfig
from exporter.decoders.features import number_names
from exporter.metrics.contract import FORWARD_DROP_REASONS
from exporter.metrics.instruments import Instruments
from exporter.metrics.totals import Totals
from exporter.model import ModelId
from exporter.observation import Observation
from exporter.pipeline.processor import Outcomes, Processor
from exporter.processors.forward.client import CollectorClient


class Collector:
    """Sends this process's observations to a collector, of all models; ends with the last that uses it."""

    def __init__(self, config: CollectorConfig, queue: QueueConfig, instruments: Instruments) -> None:
        self._new_client = partial(CollectorClient, config, queue)
        self._client = self._new_client()
        self._drain_seconds = queue.drain_seconds
        self._sent = instruments["inference_exporter_forwarded_total"]
        self._queued = instruments["inference_exporter_forward_queued"]
        dropped = instruments["inference_exporter_forward_dropped_total"]
        self._dropped = {reason: dropped.labels(reason) for reason in FORWARD_DROP_REASONS}
        self._totals = Totals()
        self._lock = threading.Lock()
        self._users: set[ModelId] = set()
        self._stopped = self._metrics_are_the_parents = False
        self._process = os.getpid()
        instruments.before_collect(self.publish)

    def start(self, user: ModelId) -> None:
        """Take a model's observations, again after a stop; does nothing if it does."""
        with self._lock:
            self._users.add(user)
            if self._stopped:
                self._stopped = False
                self._client = self._new_client()
                self._totals.begin_anew()

    def after_fork(self) -> None:
        """Begin with a client of this process; as the ledger's, the metrics follow with the next scrape."""
        if self._process == os.getpid():  # another model's pipeline has seen to it
            return
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._users = set()
        self._stopped = False
        self._client = self._new_client()
        self._metrics_are_the_parents = True

    def submit(self, observation: Observation) -> bool:
        """Queue an observation for the collector; False if it finds no place there."""
        return self._client.submit(observation)

    def stop(self, user: ModelId) -> None:
        """For the last user: send what waits, within ``queue.drain_seconds``; count the rest as dropped."""
        with self._lock:
            self._users.discard(user)
            if self._users or self._stopped:
                return
            self._client.stop(self._drain_seconds)
            self.publish()
            self._stopped = True

    def publish(self) -> None:
        """Carry the client's account over to the metrics."""
        account = self._client.account
        if self._metrics_are_the_parents:
            self._metrics_are_the_parents = False
            self._totals.reset()
        self._queued.set(account.queued)
        self._totals.carry(self._sent, account.sent)
        for reason, n in account.dropped.items():
            self._totals.carry(self._dropped[reason], n)


class Forward(Processor):
    """One model's observations to the collector, in place of tests of its own."""

    def __init__(self, collector: Collector, model: ModelId) -> None:
        self._collector = collector
        self._model = model

    def process(self, observations: Sequence[Observation], outcomes: Outcomes) -> None:
        """Queue observations for the collector; what finds no place there is dropped."""
        version = self._model.version
        for position, observation in enumerate(observations):
            sent = replace(observation, version=version) if version else observation
            if sent.feature_names is not None and _of_features(sent):
                # The collector makes it of the features, as of all that it is sent, and then has their names.
                sent = replace(sent, embedding=None)
            if not self._collector.submit(sent):
                outcomes.dropped(position, "queue_full")

    def start(self) -> None:
        """Have the collector take them."""
        self._collector.start(self._model)

    def stop(self) -> None:
        """Send what waits, if no other model goes on."""
        self._collector.stop(self._model)

    def after_fork(self) -> None:
        """In a child process: the connection is the parent's."""
        self._collector.after_fork()


def _of_features(observation: Observation) -> bool:
    """Whether the embedding is made of the very features that are sent, and not of another part of a body."""
    features = observation.features
    return isinstance(features, dict) and observation.feature_names == tuple(sorted(number_names(features)))
