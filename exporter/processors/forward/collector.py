"""A pipeline's way to a collector: the client, and its account in the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from exporter.config import CollectorConfig, QueueConfig
from exporter.metrics.contract import FORWARD_DROP_REASONS
from exporter.metrics.instruments import Instruments
from exporter.metrics.totals import Totals
from exporter.observation import Observation
from exporter.pipeline.processor import Outcomes, Processor
from exporter.processors.forward.client import CollectorClient


class Collector(Processor):
    """Sends this process's observations to a collector, in place of tests of its own."""

    def __init__(self, config: CollectorConfig, queue: QueueConfig, instruments: Instruments) -> None:
        self._new_client = partial(CollectorClient, config, queue)
        self._client = self._new_client()
        self._drain_seconds = queue.drain_seconds
        self._sent = instruments["inference_exporter_forwarded_total"]
        self._queued = instruments["inference_exporter_forward_queued"]
        dropped = instruments["inference_exporter_forward_dropped_total"]
        self._dropped = {reason: dropped.labels(reason) for reason in FORWARD_DROP_REASONS}
        self._totals = Totals()
        self._stopped = self._metrics_are_the_parents = False
        instruments.before_collect(self.publish)

    def start(self) -> None:
        """Take observations, again after a stop; does nothing if it does."""
        if self._stopped:
            self._stopped = False
            self._client = self._new_client()
            self._totals.begin_anew()

    def after_fork(self) -> None:
        """Begin with a client of this process; as the ledger's, the metrics follow with the next scrape."""
        self._stopped = False
        self._client = self._new_client()
        self._metrics_are_the_parents = True

    def process(self, observations: Sequence[Observation], outcomes: Outcomes) -> None:
        """Queue observations for the collector; what finds no place there is dropped."""
        for position, observation in enumerate(observations):
            if not self._client.submit(observation):
                outcomes.dropped(position, "queue_full")

    def stop(self) -> None:
        """Send what waits, within ``queue.drain_seconds``; count the rest as dropped."""
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
