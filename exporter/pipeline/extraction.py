"""From a captured exchange to observations: read, joined with what the service itself said, cleaned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporter.config import CaptureConfig
from exporter.decoders.registry import Reader, Reading, identified, make_reader
from exporter.decoders.values import Refuse, clean
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange
from exporter.observation import Observation, Source, observation_of


class Extractor:
    """Reads one model's exchanges. Used from one thread.

    Parameters
    ----------
    model
        Name of the model.
    config
        The section ``capture``.
    refuse
        Called with (field, reason) for each value that is found but not valid.

    Raises
    ------
    ConfigError
        If an address of a field, or the embedder's model, cannot serve.
    """

    def __init__(self, model: str, config: CaptureConfig, refuse: Refuse) -> None:
        self._model = model
        self._refuse = refuse
        self.read: Reader = make_reader(config)
        self._embedder = None
        if config.embedder is not None:
            from exporter.embedders.embedder import Embedder

            self._embedder = Embedder(config.embedder)

    @property
    def embeds(self) -> bool:
        """Whether a model of our own makes embeddings out of requests."""
        return self._embedder is not None

    def embed(self, exchanges: Sequence[Exchange]) -> int:
        """Add embeddings to exchanges that have none; gives how many hold an image that has none now."""
        return 0 if self._embedder is None else self._embedder.attach(exchanges)

    def observations(self, source: Source, exchange: Exchange) -> list[Observation]:
        """One observation for each instance that the exchange answered, at least one.

        Embeddings out of the live module belong to the instances in their order; more embeddings than
        instances make further observations. What the service said with ``observe()`` wins.

        Raises
        ------
        PayloadError
            If the exchange holds no readable prediction.
        """
        notes = exchange.notes or {}
        if notes.keys() == {"request_id"} and not exchange.embeddings:
            readings = identified(self.read(exchange), notes["request_id"])
        elif notes or exchange.embeddings:
            readings = self._joined(exchange, notes, exchange.embeddings or [])
        else:
            readings = self.read(exchange)
        if not readings:
            raise PayloadError("no_prediction", "the answer holds no instance")
        model, refuse, ended = self._model, self._refuse, exchange.ended
        latency = ended - exchange.started
        return [observation_of(model, source, ended, latency, clean(reading, refuse)) for reading in readings]

    def _joined(self, exchange: Exchange, notes: Reading, rows: list[Any]) -> list[Reading]:
        """What the answer says, joined with what the service noted and with embeddings of the live model."""
        try:
            readings = self.read(exchange)
        except PayloadError:
            readings = [{}]
        if not readings:
            return []
        if notes:
            readings = [{**readings[0], **notes}, *readings[1:]]
        if len(rows) > len(readings):
            readings = [*readings, *({} for _ in range(len(rows) - len(readings)))]
        if "embedding" not in notes:
            for reading, row in zip(readings, rows, strict=False):
                reading["embedding"] = row
        return readings
