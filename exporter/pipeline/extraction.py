"""From a captured exchange to observations: read, joined with what the service itself said, cleaned."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.config import CaptureConfig
from exporter.decoders.registry import Reader, Reading, make_reader
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
        model, refuse, ended = self._model, self._refuse, exchange.ended
        if exchange.notes or exchange.embeddings:
            found = self._joined(exchange, exchange.notes or {})
        else:
            found = [clean(reading, refuse) for reading in self.read(exchange)]
        if not found:
            raise PayloadError("no_prediction", "the response holds no instance")
        latency = ended - exchange.started
        return [observation_of(model, source, ended, latency, fields) for fields in found]

    def _joined(self, exchange: Exchange, notes: Reading) -> list[Reading]:
        """What the response says, cleaned, under what the service noted and embeddings of the live model.

        These are clean: they were packed.
        """
        rows = [row for block in exchange.embeddings or () for row in block]
        try:
            readings = self.read(exchange)
        except PayloadError:
            readings = [{}]
        if not readings:
            return []
        readings += [{} for _ in range(len(rows) - len(readings))]
        said: list[Reading] = [{"embedding": row} for row in rows] if "embedding" not in notes else []
        said += [{} for _ in range(len(readings) - len(said))]
        said[0].update(notes)
        return [
            clean({name: value for name, value in reading.items() if name not in known}, self._refuse) | known
            for reading, known in zip(readings, said, strict=True)
        ]
