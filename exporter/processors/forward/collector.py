"""A monitor's way to a collector: the client, and its account in the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from exporter.config import Config
from exporter.metrics.contract import FORWARD_DROP_REASONS
from exporter.metrics.instruments import Instruments
from exporter.observation import Observation
from exporter.pipeline.processor import Outcomes, Processor
from exporter.processors.forward.client import CollectorClient


class Collector(Processor):
    """Sends this process's observations to the collector that ``config.collector`` names.

    Raises
    ------
    ConfigError
        If the address is not one.
    """

    def __init__(self, config: Config, instruments: Instruments) -> None:
        self._config = config
        self._client = self._new_client()
        self._stopped = False
        self._drain_seconds = config.queue.drain_seconds
        self._sent = instruments["inference_exporter_forwarded_total"]
        self._queued = instruments["inference_exporter_forward_queued"]
        dropped = instruments["inference_exporter_forward_dropped_total"]
        self._dropped = {reason: dropped.labels(reason) for reason in FORWARD_DROP_REASONS}
        self._published: Counter[str] = Counter()
        self._instruments = instruments
        self._shown = False

    def start(self) -> None:
        """Take observations, again after a stop; does nothing if it does."""
        if not self._shown:
            self._shown = True
            self._instruments.before_collect(self.publish)
        if self._stopped:
            self._client = self._new_client()
            self._published.clear()
            self._stopped = False

    def after_fork(self) -> None:
        """Begin the account at zero, as the client does in a child process."""
        self._published.clear()

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
        self._queued.set(account.queued)
        self._sent.inc(account.sent - self._published["sent"])
        self._published["sent"] = account.sent
        for reason, n in account.dropped.items():
            self._dropped[reason].inc(n - self._published[reason])
            self._published[reason] = n

    def _new_client(self) -> CollectorClient:
        config = self._config
        return CollectorClient(
            config.collector or "",
            token=config.admin.token,
            max_items=config.queue.max_items,
            max_bytes=int(config.queue.max_bytes),
        )
