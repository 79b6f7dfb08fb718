"""A Flask service with the hook, for servers that start it; every answer says which process gave it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from flask import Flask, Response, request

from exporter import InferenceExporter, observe

app = Flask("service")
bare = app.wsgi_app
rng = np.random.default_rng(0)


@app.post("/predict")
def predict() -> Any:
    """A class, and an embedding beside the response."""
    x = request.get_json()["x"]
    observe(embedding=rng.standard_normal(4))
    return {"prediction": f"class {x % 3}", "probability": 0.75}


@app.post("/predict/stream")
def stream() -> Response:
    """The same, in pieces."""

    def pieces() -> Iterator[str]:
        yield '{"prediction": "streamed",'
        yield ' "probability": 0.5}'

    return Response(pieces(), mimetype="application/json")


@app.after_request
def say_pid(response: Response) -> Response:
    """Which process answered."""
    response.headers["x-pid"] = str(os.getpid())
    return response


if os.environ.get("TEST_BARE") != "1":
    settings: dict[str, Any] = {"reference": os.environ["TEST_REFERENCE"]}
    exporter = InferenceExporter(model="m", capture={"paths": ["/predict", "/predict/*"]}, **settings)
    app.wsgi_app = exporter.wrap_wsgi(bare, metrics="/metrics")  # type: ignore[method-assign]
