"""Which member of a JSON object says what: the usual names of a class, a confidence, a value, an embedding.

The names are those that well-known servers and their tutorials use. Of the names for one role, the first in
the list that an object has is taken.
"""

from __future__ import annotations

from typing import Any, NamedTuple

REQUEST_ID_NAMES = ("request_id", "id", "record_id")
CLASS_NAMES = (
    *("predicted_class", "prediction", "predicted", "label", "class_name", "class", "category"),
    *("predicted_label", "class_id", "class_index", "y_pred", "className", "displayName", "predictedLabel"),
    *("class_label", "Scored Labels", "sentiment", "intent", "species", "emotion", "language", "topic"),
    *("diagnosis", "verdict", "decision", "closest_cluster", "cluster", "top"),
)
CONFIDENCE_NAMES = (
    *("probability", "confidence", "score", "prob", "y_proba", "y_prob", "proba", "Scored Probabilities"),
    *("class_probability", "certainty"),
)
PROBABILITIES_NAMES = (
    *("probabilities", "scores", "confidences", "probs", "class_probabilities", "predict_proba", "probas"),
)
EMBEDDING_NAMES = (
    *("embedding", "embeddings", "feature_vector", "vector", "projection", "sentence_embedding"),
)
VALUE_NAMES = (
    *("value", "predicted_value", "output", "relevance_score", "similarity", "y_hat", "anomaly_score"),
)
CLASS_LIST_NAMES = ("labels", "classes", "class_names", "displayNames")
"""In what order the probabilities stand."""
CLUSTER_NAMES = frozenset({"closest_cluster", "cluster"})
"""Names of classes whose numbers some servers write with a point."""
PROBABILITY_ENDINGS = ("_probability", "_proba", "_prob", "_confidence", "_score")
"""``NAME`` and ``NAME_probability`` are a class and how probable it is."""

# What stands beside a prediction, and is none.
_BESIDE = frozenset(
    (
        *("latency", "latency_ms", "latency_seconds", "time", "time_ms", "duration", "duration_ms"),
        *("elapsed", "elapsed_ms", "inference_time", "inference_time_ms", "processing_time"),
        *("processing_time_ms", "took", "uptime", "timestamp", "created", "created_at", "version"),
        *("model_version", "threshold", "code", "status", "lower", "upper", "lower_bound", "upper_bound"),
        *("ci_lower", "ci_upper", "std", "stddev", "variance", "seed", "index", "rank"),
    )
)
# Of these, text is what was asked, or what was written: no class.
_TEXTS = frozenset(
    (
        *("text", "input", "query", "document", "sentence", "prompt", "content", "message", "detail"),
        *("title", "answer", "response", "generated_text", "url", "path", "filename", "model"),
        "model_name",
    )
)
_MAX_LABEL_CHARACTERS, _MAX_LABEL_WORDS = 64, 5
_MAX_NAMES = 32
_MAX_REMEMBERED = 256


class Roles(NamedTuple):
    """The names, in one object, of what says each thing; None where nothing does."""

    predicted_class: str | None
    confidence: str | None
    probabilities: str | None
    embedding: str | None
    value: str | None
    request_id: str | None
    class_list: str | None
    paired: bool
    """Whether the confidence is named after the class: ``fraud`` and ``fraud_probability``."""
    lone: bool
    """Whether the class has no usual name, and is what stands beside a confidence."""


_USUAL = frozenset(
    (
        *CLASS_NAMES,
        *CONFIDENCE_NAMES,
        *PROBABILITIES_NAMES,
        *EMBEDDING_NAMES,
        *VALUE_NAMES,
        *REQUEST_ID_NAMES,
        *CLASS_LIST_NAMES,
    )
)
NOTHING = Roles(None, None, None, None, None, None, None, paired=False, lone=False)
_REMEMBERED: dict[tuple[str, ...], Roles] = {}


def roles(document: dict[str, Any]) -> Roles:
    """Who says what in an object; ``NOTHING`` where none of its names is usual."""
    return _REMEMBERED.get(tuple(document)) or _chosen(document)


def lone_number(document: dict[str, Any]) -> float | None:
    """The only number with a point in an object, whatever its name; None for none or several.

    Whole numbers could be a class, a count or an amount: they say nothing by themselves.
    """
    found: float | None = None
    for name, value in document.items():
        kind = type(value)
        if kind is float and name not in _BESIDE:
            if found is not None:
                return None
            found = value
        elif kind is list or kind is dict or (kind is int and name not in _BESIDE):
            return None
    return found


def is_label(text: str) -> bool:
    """Whether text can be the name of a class, and is no sentence that was written."""
    return (
        0 < len(text) <= _MAX_LABEL_CHARACTERS
        and text.isprintable()
        and len(text.split()) <= _MAX_LABEL_WORDS
        and text[-1] not in ".!?"
        and text[0] not in "{[<"
    )


def _first(usual: tuple[str, ...], document: dict[str, Any]) -> str | None:
    return next((name for name in usual if name in document), None)


def _companion(document: dict[str, Any], as_confidence: str | None) -> str | None:
    """The only other member of an object, apart from identifiers and the like."""
    others = [
        name
        for name in document
        if name != as_confidence
        and name not in _BESIDE
        and name not in _TEXTS
        and name not in REQUEST_ID_NAMES
        and name not in PROBABILITIES_NAMES
    ]
    return others[0] if len(others) == 1 else None


def _paired(document: dict[str, Any], as_class: str | None) -> tuple[str, str] | None:
    """A class, and the name of its probability, which is made of its own."""
    if len(document) > _MAX_NAMES:  # they are data
        return None
    for name in document:
        if name.endswith(PROBABILITY_ENDINGS):
            named = name.rpartition("_")[0]
            if named in document and as_class in (None, named):
                return named, name
    return None


def _chosen(document: dict[str, Any]) -> Roles:
    pair = None
    if _USUAL.isdisjoint(document):
        pair = _paired(document, None) if len(document) > 1 else None
        if pair is None:
            return NOTHING
    as_class = _first(CLASS_NAMES, document)
    as_confidence = _first(CONFIDENCE_NAMES, document)
    as_probabilities = _first(PROBABILITIES_NAMES, document)
    as_embedding = _first(EMBEDDING_NAMES, document)
    as_value = _first(VALUE_NAMES, document)
    pair = pair or _paired(document, as_class)
    if pair is not None:
        as_class, as_confidence = pair
    lone = as_class is None and as_confidence is not None and as_value is None and as_embedding is None
    if lone:
        as_class = _companion(document, as_confidence)
    made = Roles(
        as_class,
        as_confidence,
        as_probabilities,
        as_embedding,
        as_value,
        _first(REQUEST_ID_NAMES, document),
        _first(CLASS_LIST_NAMES, document),
        pair is not None,
        lone and as_class is not None,
    )
    # The responses of a service have the same names, unless the names are data.
    if len(document) <= _MAX_NAMES and len(_REMEMBERED) < _MAX_REMEMBERED:
        _REMEMBERED[tuple(document)] = made
    return made
