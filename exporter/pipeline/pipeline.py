"""What becomes of captured items: they are read, and handed to the processors, batch by batch, on one thread.

A pipeline is a list of processors, and knows none of them by name. It says what became of each item to
whoever keeps account.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

from exporter.config import Config
from exporter.decoders.values import Refuse
from exporter.errors import PayloadError
from exporter.http.exchange import Exchange
from exporter.metrics.instruments import Instruments
from exporter.observation import Observation, Source
from exporter.pipeline.extraction import Extractor
from exporter.pipeline.ledger import Tally
from exporter.pipeline.packing import Item, unpack
from exporter.pipeline.processor import Outcomes, Processor
from exporter.receivers.rows import Rows

log = logging.getLogger(__name__)
P = TypeVar("P", bound=Processor)

# How many items are read before others get a chance.
_SLICE_BESIDE_REQUESTS, _SLICE_APART = 32, 1
_REST_SECONDS = 0.0001
# A few hundred exchanges may hold millions of observations: they go on when so many are at hand.
_MANY_OBSERVATIONS = 2048
# How many exchanges are embedded together.
_EMBEDDED_TOGETHER = 32


class Pipeline:
    """Reads what one model's service was asked and responded, and hands it to processors, in their order.

    Parameters
    ----------
    refuse
        Called with (field, reason) for each value that is found but not valid.
    worth_embedding
        Whether a request of that time, in seconds, gets an embedding, if it has none and a model of our own
        makes them; else it is sampled out. None if nobody wants embeddings. A pass through a model is dear.
    features_tested
        Whether numeric features are to be the embeddings of what has none.
    apart
        Whether no other thread of this process serves requests. Within a batch, the pipeline then gives
        way to processes that want its core, else to threads that want the interpreter lock.

    Raises
    ------
    ConfigError
        If an address of a field, or the embedder's model, cannot serve.
    """

    def __init__(
        self,
        config: Config,
        instruments: Instruments,
        processors: Iterable[Processor],
        *,
        refuse: Refuse,
        worth_embedding: Callable[[float], bool | None] = lambda _: True,
        features_tested: Callable[[], bool] = lambda: False,
        apart: bool = False,
    ) -> None:
        self.model = config.identity
        self.processors = list(processors)
        self.refuse = refuse
        self._features_tested = features_tested
        self.extractor = Extractor(self.model.name, config.capture, refuse, features_tested)
        self._worth_embedding = worth_embedding
        self._errors = instruments.errors["extract"]
        self._slice = _SLICE_APART if apart else _SLICE_BESIDE_REQUESTS
        self._give_way: Callable[[], None] = getattr(os, "sched_yield", _rest) if apart else _rest

    def find(self, wanted: type[P]) -> P | None:
        """The first processor of a class, or None."""
        return next((each for each in self.processors if isinstance(each, wanted)), None)

    def start(self) -> None:
        """Begin what runs beside the batches."""
        for processor in self.processors:
            processor.start()

    def stop(self) -> None:
        """End it: what is under way is given up, what has to be kept is written, what waits is sent."""
        for processor in self.processors:
            processor.stop()

    def after_fork(self) -> None:
        """In a child process: threads did not come along."""
        for processor in self.processors:
            processor.after_fork()

    def status(self) -> dict[str, Any]:
        """What was found in the last exchanges, as :meth:`Findings.status` gives it."""
        return self.extractor.findings.status()

    def reconfigure(self, config: Config) -> None:
        """Take over other capture and drift sections, from the next batch on; raises as the next one."""
        self.reconfigured(config)()

    def reconfigured(self, config: Config) -> Callable[[], None]:
        """Prepare for other capture and drift sections; what is returned takes them over, and cannot fail.

        Raises
        ------
        ConfigError, InvalidReference, DetectorFileError
            If something that it names cannot serve; everything then stays as it was.
        """
        extractor = Extractor(self.model.name, config.capture, self.refuse, self._features_tested)
        prepared = [processor.reconfigured(config) for processor in self.processors]

        def take_over() -> None:
            self.extractor = extractor
            for each in prepared:
                each()

        return take_over

    def handle(self, tally: Tally, items: Iterable[bytes]) -> None:
        """Read a batch of packed items, hand on what they hold, and say of every item what became of it."""
        batch: list[Observation] = []
        outcomes = Outcomes()
        for number, (source, item, left_unembedded) in enumerate(self._unpacked(items), 1):
            found = self._read(tally, source, item)
            for part in (found,) if len(found) <= _MANY_OBSERVATIONS else _parts(found):
                if left_unembedded:
                    for position, observation in enumerate(part, len(batch)):
                        if observation.embedding is None:
                            outcomes.sampled_out(position)
                batch += part
                if len(batch) >= _MANY_OBSERVATIONS:
                    self._process(tally, batch, outcomes)
                    batch, outcomes = [], Outcomes()
            if number % self._slice == 0:
                self._give_way()
        if batch:
            self._process(tally, batch, outcomes)

    def _unpacked(self, items: Iterable[bytes]) -> Iterator[tuple[Source, Item, bool]]:
        """The items, and whether one was left without an embedding that it could have got."""
        if not self.extractor.embeds:
            for data in items:
                source, item = unpack(data)
                yield source, item, False
            return
        waiting = iter(items)
        while together := [unpack(data) for data in islice(waiting, _EMBEDDED_TOGETHER)]:
            left = self._embed([item for _, item in together])
            for source, item in together:
                yield source, item, id(item) in left

    def _embed(self, items: Sequence[Item]) -> set[int]:
        """Embed exchanges that need it; gives the ids of those that came too soon after another."""
        chosen, left = [], set()
        for item in items:
            if isinstance(item, Exchange) and self.extractor.needs_embedding(item):
                worth = self._worth_embedding(item.ended)
                if worth:
                    chosen.append(item)
                elif worth is False:
                    left.add(id(item))
        try:
            failed = self.extractor.embed(chosen)
        except Exception:
            log.exception("%d requests could not be embedded", len(chosen))
            failed = len(chosen)
        self._errors.inc(failed)
        return left

    def _read(self, tally: Tally, source: Source, item: Item) -> Sequence[Observation]:
        """The observations that an item holds."""
        if isinstance(item, Observation):
            # Whoever made it may call the model otherwise, or by a name that is none.
            named = item if item.model == self.model.name else replace(item, model=self.model.name)
            return (self.extractor.features.observation(named),)
        if isinstance(item, Rows):  # as many as it was counted for
            return self.extractor.features.observations(item, source)
        found: Sequence[Observation] = ()
        try:
            found = self.extractor.observations(source, item)
        except PayloadError as error:
            tally.ended[error.reason] += 1
        except Exception:
            log.exception("an exchange could not be read")
            self._errors.inc()
            tally.ended["failed"] += 1
        left_out = item.rows_left_out
        if left_out:
            tally.ended["body_too_large"] += left_out
        if left_out or len(found) > 1:
            tally.found[source] += max(len(found), 1) + left_out - 1
        return found

    def _process(self, tally: Tally, batch: Sequence[Observation], outcomes: Outcomes) -> None:
        for number, processor in enumerate(self.processors):
            if number:
                self._give_way()
            try:
                processor.process(batch, outcomes)
            except Exception:
                log.exception("%s failed over %d observations", type(processor).__name__, len(batch))
                self._errors.inc()
        tally.ended.update(outcomes.count(len(batch)))


def _parts(found: Sequence[Observation]) -> Iterator[Sequence[Observation]]:
    for start in range(0, len(found), _MANY_OBSERVATIONS):
        yield found[start : start + _MANY_OBSERVATIONS]


def _rest() -> None:
    """Let go of the interpreter lock for long enough that a thread that waits for it gets it."""
    time.sleep(_REST_SECONDS)
