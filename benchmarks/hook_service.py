"""The service that benchmarks/hook.py loads, in several arrangements.

A service gives its embedding in one of three ways: in its response (``hook``), by ``observe()`` in the
handler, or as activations of a torch module (``watch``). Of each there is one service that
prometheus-fastapi-instrumentator alone looks at, and one that we look at too; both say the same to clients.

``python benchmarks/hook_service.py ARRANGEMENT FOLDER PORT`` serves, and ``prepare FOLDER`` makes what
the arrangements need. Imports nothing of ours but in the arrangement that measures us, so that the
executor can run in an environment where alibi-detect can be installed.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic import BaseModel

ARRANGEMENTS = ("alone", "hook", "executor", "alone-observe", "observe", "alone-watch", "watch")
OURS = ("hook", "observe", "watch")
N_REFERENCE, N_FEATURES, WINDOW = 1000, 64, 50
_ANSWERS = 4096


class Question(BaseModel):
    """What the client sends."""

    image: str


class Short(BaseModel):
    """What the model says of it."""

    prediction: str
    probability: float


class Answer(Short):
    """The same, with the embedding."""

    embedding: list[float]


def reference() -> np.ndarray:
    """(1000, 64) float32: what is normal."""
    return np.random.default_rng(0).standard_normal((N_REFERENCE, N_FEATURES), dtype=np.float32)


def stream() -> np.ndarray:
    """(4096, 64) float32: what is asked, and nothing of it is unusual."""
    return np.random.default_rng(1).standard_normal((_ANSWERS, N_FEATURES), dtype=np.float32)


def answers() -> list[Answer]:
    """Answers of a model that sees nothing unusual."""
    rows = stream()
    confidence = np.random.default_rng(2).beta(8, 2, _ANSWERS)
    return [
        Answer(prediction=f"class_{i % 10}", probability=float(confidence[i]), embedding=rows[i].tolist())
        for i in range(_ANSWERS)
    ]


def create_app(arrangement: str, folder: Path) -> FastAPI:
    """The service, watched in one of the ``ARRANGEMENTS``."""
    app = FastAPI()
    if arrangement in OURS:
        from exporter import InferenceExporter

        exporter = InferenceExporter(model="benchmark", reference=folder / "hook.npz")
        exporter.instrument(app).expose(app)
    else:
        Instrumentator().instrument(app).expose(app)
    if arrangement.endswith("observe"):
        _observing(app, ours=arrangement in OURS)
    elif arrangement.endswith("watch"):
        network = _network()
        if arrangement in OURS:
            exporter.watch(network)
        _computing(app, network)
    else:
        _answering(app, _executor(folder) if arrangement == "executor" else None)
    return app


def _answering(app: FastAPI, watch: Any) -> None:
    prepared, turn = answers(), itertools.cycle(range(_ANSWERS))

    @app.post("/predict")
    async def predict(question: Question) -> Answer:  # noqa: ARG001
        answer = prepared[next(turn)]
        if watch is not None:
            watch(answer)
        return answer


def _observing(app: FastAPI, *, ours: bool) -> None:
    prepared, turn = answers(), itertools.cycle(range(_ANSWERS))
    short = [Short(prediction=each.prediction, probability=each.probability) for each in prepared]
    rows = np.array([each.embedding for each in prepared], dtype=np.float32)
    if ours:
        from exporter import observe

    @app.post("/predict")
    async def predict(question: Question) -> Short:  # noqa: ARG001
        number = next(turn)
        if ours:
            observe(embedding=rows[number])
        return short[number]


def _computing(app: FastAPI, network: Any) -> None:
    import torch

    rows, turn = torch.from_numpy(stream()), itertools.cycle(range(_ANSWERS))

    @app.post("/predict")
    async def predict(question: Question) -> Short:  # noqa: ARG001
        with torch.inference_mode():
            scores = network(rows[next(turn)][None])[0]
            best = int(scores.argmax())
            return Short(prediction=f"class_{best}", probability=float(scores[best]))


def _network() -> Any:
    """A model whose head, the last linear layer, gets the embedding."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    return torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(N_FEATURES, 10), torch.nn.Softmax(dim=1))


def _executor(folder: Path) -> Any:
    """The usual hand-made arrangement: alibi-detect's online MMD in a pool of two threads."""
    from concurrent.futures import ThreadPoolExecutor

    from alibi_detect.saving import load_detector
    from prometheus_client import Counter, Histogram

    detector = load_detector(folder / "executor")
    confidence = Histogram("prediction_confidence", "Confidence.", buckets=[step / 10 for step in range(11)])
    classes = Counter("predicted_class_total", "Predictions by class.", ["class_name"])
    events = Counter("drift_events_total", "Drift events.")
    statistic = Histogram("drift_test_stat", "Drift test statistic.")
    pool = ThreadPoolExecutor(max_workers=2)

    def detect(row: np.ndarray) -> None:
        verdict = detector.predict(row)
        statistic.observe(verdict["data"]["test_stat"])
        if verdict["data"]["is_drift"]:
            events.inc()

    def watch(answer: Answer) -> None:
        confidence.observe(answer.probability)
        classes.labels(class_name=answer.prediction).inc()
        pool.submit(detect, np.asarray(answer.embedding, dtype=np.float32))

    return watch


def prepare(arrangement: str, folder: Path) -> None:
    """Fit the detector that an arrangement loads when it starts."""
    if arrangement in OURS:
        from exporter.detectors import OnlineMMD

        OnlineMMD.fit(reference(), window=WINDOW, seed=0).save(folder / "hook.npz")
    elif arrangement == "executor":
        from alibi_detect.cd import MMDDriftOnline
        from alibi_detect.saving import save_detector

        # The run length decides how long the fit takes, not what a prediction costs.
        detector = MMDDriftOnline(
            reference(), ert=200, window_size=WINDOW, backend="pytorch", n_bootstraps=2000, verbose=False
        )
        detector.reset_state()
        save_detector(detector, folder / "executor")


def main() -> None:
    """Serve or prepare, as the command line says."""
    if sys.argv[1] == "prepare":
        prepare(sys.argv[2], Path(sys.argv[3]))
    else:
        uvicorn.run(
            create_app(sys.argv[1], Path(sys.argv[2])),
            port=int(sys.argv[3]),
            log_level="warning",
            access_log=False,
            loop="uvloop",
            http="httptools",
        )


if __name__ == "__main__":
    main()
