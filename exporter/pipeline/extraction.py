"""From a captured exchange to observations: read, joined with what the service itself said, cleaned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from exporter.config import CaptureConfig
from exporter.decoders.base import Decoder, Reading, identified
from exporter.decoders.features import Columns, from_request
from exporter.decoders.registry import make_reader
from exporter.decoders.values import Refuse, clean
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange
from exporter.observation import Observation, Source, observation_of
from exporter.pipeline.features import FeatureEmbeddings
from exporter.pipeline.findings import Findings, Refused


class Extractor:
    """Reads one model's exchanges, on one thread; ``refuse`` is told (field, reason) of values not valid.

    ``features_tested`` says whether numeric features are to be the embeddings of what has none; where a model
    of our own makes the embeddings, they never are.

    Raises
    ------
    ConfigError
        If an address of a field, or the embedder's model, cannot serve.
    """

    def __init__(
        self,
        model: str,
        config: CaptureConfig,
        refuse: Refuse,
        features_tested: Callable[[], bool] = lambda: False,
    ) -> None:
        self._model = model
        self._refuse_value = refuse
        self._refused: list[Refused] = []
        self.findings = Findings(model, config.payload)
        self.read: Decoder = make_reader(config)
        self._columns = Columns()
        self._embedder = None
        if config.embedder is not None:
            from exporter.embedders.embedder import embedder_of

            self._embedder = embedder_of(config.embedder)
        wanted = features_tested if self._embedder is None else lambda: False
        self.features = FeatureEmbeddings(self._columns, refuse, wanted)
        """Makes embeddings of features; also of those that come otherwise than in an exchange."""

    @property
    def embeds(self) -> bool:
        """Whether a model of our own makes embeddings out of requests."""
        return self._embedder is not None

    def embed(self, exchanges: Sequence[Exchange]) -> int:
        """Add embeddings to exchanges that need one; gives how many hold an image that has none now."""
        return 0 if self._embedder is None else self._embedder.attach(exchanges)

    def needs_embedding(self, exchange: Exchange) -> bool:
        """Whether :meth:`embed` is to be asked: the service itself gave no embedding, in any way."""
        if self._embedder is None or self._embedder.has_embedding(exchange):
            return False
        try:
            readings = self.read(exchange)
        except Exception:  # observations() meets it again, for whoever counts such
            return bool((exchange.notes or {}).keys() - {"request_id"})
        return not any("embedding" in reading and not from_request(reading) for reading in readings)

    def observations(self, source: Source, exchange: Exchange) -> list[Observation]:
        """One observation for each instance that an exchange holds, at least one; what was found is kept.

        Embeddings out of the live module belong to the instances in their order; more embeddings than
        instances make further observations. What was noted with ``observe()``, or by who sent the exchange,
        wins; of several instances all take the identifier, and the first one the rest.

        Raises
        ------
        PayloadError
            If the exchange holds no readable prediction.
        """
        said: list[Reading] | None = None
        try:
            if exchange.notes or exchange.embeddings:
                readings, said = self._joined(exchange, exchange.notes or {})
            else:
                readings = self.read(exchange)
            if not readings:
                raise PayloadError("no_prediction", "the response holds no instance")
        except PayloadError as error:
            self.findings.unread(exchange, error)
            raise
        model, refuse, embedder = self._model, self._refuse, self._embedder
        started, ended = exchange.started, exchange.ended
        latency = ended - started if ended > started else None
        found: list[Observation] = []
        for number, reading in enumerate(readings):
            names = None
            if "embedding" in reading and (embedder is not None or type(reading["embedding"]) is dict):
                names = self._settle_embedding(reading)
            fields = clean(reading, refuse)
            if names is not None:
                fields["feature_names"] = names
            elif "embedding" in fields and not from_request(reading):
                self.features.embedding_given()
            if said is not None:
                fields.update(said[number])
                if said[number].get("embedding") is not None:
                    self.features.embedding_given()
            # One that was refused is not made good by features: they would be tested among embeddings.
            if "features" in fields and "embedding" not in fields and "embedding" not in reading:
                fields.update(self.features.fields(fields["features"], refuse))
            found.append(observation_of(model, source, ended, latency, fields))
            if not number:
                first = fields
        self.findings.read(exchange, len(found), first, self._refused)
        return found

    def _refuse(self, field: str, reason: str) -> None:
        self._refuse_value(field, reason)
        self._refused.append((field, reason))

    def _settle_embedding(self, reading: Reading) -> tuple[str, ...] | None:
        """Put named features in order, and give their names, where they are the embedding.

        What a model of our own makes of a request is tested instead of it.
        """
        embedding = reading["embedding"]
        if self._embedder is not None and from_request(reading):
            del reading["embedding"]
        elif type(embedding) is dict:
            reading["embedding"] = vector = self._columns.vector(embedding)
            if vector is not None:
                return self._columns.names
            self._refuse("embedding", "wrong_shape")
        return None

    def _joined(self, exchange: Exchange, notes: Reading) -> tuple[list[Reading], list[Reading]]:
        """What the response says, and what the service noted and the live model computed, which wins.

        The latter is clean: it was packed. There are as many of the one as of the other.
        """
        rows = [row for block in exchange.embeddings or () for row in block]
        try:
            readings = self.read(exchange)
        except PayloadError:
            if not rows and notes.keys() <= {"request_id"}:
                raise  # an identifier alone is no prediction
            readings = [{}]
        if not readings:
            return [], []
        readings += [{} for _ in range(len(rows) - len(readings))]
        if notes.get("request_id") is not None:
            identified(readings, notes["request_id"])
        said: list[Reading] = [{"embedding": row} for row in rows] if "embedding" not in notes else []
        said += [{} for _ in range(len(readings) - len(said))]
        said[0].update({name: value for name, value in notes.items() if name != "request_id"})
        for reading, own in zip(readings, said, strict=True):
            if "features" in own and "embedding" in reading and from_request(reading):
                del reading["embedding"]  # other features are said to be those of this instance
            for name in own:
                reading.pop(name, None)
        return readings, said
