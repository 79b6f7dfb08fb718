"""A service with the hook, for servers that start it themselves; every answer says which process gave it.

It counts its predictions itself too. ``TEST_INSTRUMENTATOR`` gives it an Instrumentator, ``before`` the one
line or ``after`` it.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from fastapi import FastAPI
from prometheus_client import Counter
from prometheus_fastapi_instrumentator import Instrumentator

from exporter import InferenceExporter


class SayPid:
    """Adds the process's number to every answer's headers."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def say(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-pid", str(os.getpid()).encode())]
            await send(message)

        await self.app(scope, receive, say)


def create_app() -> FastAPI:
    """A model with three classes and an embedding that stays where it is."""
    app = FastAPI()
    app.add_middleware(SayPid)
    rng = np.random.default_rng(0)
    made = Counter("predictions_made_total", "Counted by the service itself.")

    @app.post("/predict")
    async def predict() -> dict[str, Any]:
        made.inc()
        return {
            "prediction": f"class {rng.integers(3)}",
            "probability": float(rng.uniform(0.5, 1.0)),
            "embedding": rng.standard_normal(4).tolist(),
        }

    reference = os.environ.get("TEST_REFERENCE")
    settings: dict[str, Any] = {"reference": reference} if reference else {}
    instrumentator = os.environ.get("TEST_INSTRUMENTATOR")
    if instrumentator == "before":
        Instrumentator().instrument(app).expose(app)
    InferenceExporter(model="m", **settings).instrument(app).expose(app)
    if instrumentator == "after":
        Instrumentator().instrument(app).expose(app)
    return app


app = create_app()
