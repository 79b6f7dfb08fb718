"""The service that benchmarks/hook.py loads, in three arrangements; answers are the same in all.

``python benchmarks/hook_service.py ARRANGEMENT FOLDER PORT`` serves, and ``prepare FOLDER`` makes what
the arrangements need. Imports nothing of ours but in the arrangement that measures us, so that the
executor can run in an environment where alibi-detect can be installed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic import BaseModel

ARRANGEMENTS = ("alone", "hook", "executor")
N_REFERENCE, N_FEATURES, WINDOW = 1000, 64, 50
_ANSWERS = 4096


class Question(BaseModel):
    """What the client sends."""

    image: str


class Answer(BaseModel):
    """What the model says of it."""

    prediction: str
    probability: float
    embedding: list[float]


def reference() -> np.ndarray:
    """(1000, 64) float32: what is normal."""
    return np.random.default_rng(0).standard_normal((N_REFERENCE, N_FEATURES), dtype=np.float32)


def answers() -> list[Answer]:
    """Answers of a model that sees nothing unusual."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((_ANSWERS, N_FEATURES), dtype=np.float32)
    confidence = rng.beta(8, 2, _ANSWERS)
    return [
        Answer(prediction=f"class_{i % 10}", probability=float(confidence[i]), embedding=rows[i].tolist())
        for i in range(_ANSWERS)
    ]


def create_app(arrangement: str, folder: Path) -> FastAPI:
    """The service, watched in one of the ``ARRANGEMENTS``."""
    app = FastAPI()
    prepared = answers()
    turn = 0
    watch = _executor(folder) if arrangement == "executor" else None

    @app.post("/predict")
    async def predict(question: Question) -> Answer:
        nonlocal turn
        turn = (turn + len(question.image)) % _ANSWERS
        answer = prepared[turn]
        if watch is not None:
            watch(answer)
        return answer

    if arrangement == "hook":
        from exporter import InferenceExporter

        InferenceExporter(model="benchmark", reference=folder / "hook.npz").instrument(app).expose(app)
    else:
        Instrumentator().instrument(app).expose(app)
    return app


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
    if arrangement == "hook":
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
