"""MLflow, unmodified, serving a scikit-learn model from `mlflow models serve`, behind the sidecar.

Its clients send tables with names, and the columns in whatever order: the features are known by their names.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_wine

from tests.e2e.test_mlserver import Wines, samples
from tests.servers import cli, free_port, get, process, wait_for

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-mlflow"
NEEDED = ("mlflow-skinny", "scikit-learn", "pandas", "fastapi", "uvicorn")
TRAIN = """
import mlflow.sklearn, sys
from mlflow.models import infer_signature
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
rows, classes = load_wine(return_X_y=True, as_frame=True)
model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, classes)
signature = infer_signature(rows, model.predict(rows))
mlflow.sklearn.save_model(model, sys.argv[1], signature=signature, serialization_format="cloudpickle")
"""
NAMES: list[str] = load_wine().feature_names
SORTED = sorted(NAMES)


def installed() -> Path:
    """MLflow's own environment, made when it is not there."""
    if not (VENV / "bin" / "mlflow").exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        pip = [VENV / "bin" / "pip", "install", "-q", "-c", ROOT / "constraints-mlflow.txt"]
        subprocess.run([*pip, *NEEDED], check=True)
    return VENV / "bin"


class Client:
    """Sends tables of wines over one connection, split or as records, and counts what it is told."""

    def __init__(self, port: int, seed: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._generator = np.random.default_rng(seed)
        self.classes: Counter[str] = Counter()
        self.requests = 0

    def close(self) -> None:
        self._connection.close()

    def ask(self, rows: np.ndarray) -> None:
        order = self._generator.permutation(len(NAMES))
        names, table = [NAMES[index] for index in order], rows[:, order].tolist()
        body: dict[str, Any] = {"dataframe_split": {"columns": names, "data": table}}
        if self.requests % 2:
            body = {"dataframe_records": [dict(zip(names, row, strict=True)) for row in table]}
        headers = {"content-type": "application/json"}
        self._connection.request("POST", "/invocations", json.dumps(body), headers)
        response = self._connection.getresponse()
        data = response.read()
        assert response.status == 200, data
        self.classes.update(str(item) for item in json.loads(data)["predictions"])
        self.requests += 1


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_mlflow_behind_the_sidecar(tmp_path: Path) -> None:
    binaries = installed()
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",  # it starts uvicorn by its name
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    subprocess.run([binaries / "python", "-c", TRAIN, tmp_path / "model"], check=True, env=environment)
    wines = Wines(seed=2)
    np.save(tmp_path / "reference.npy", by_name(wines.draw(1000)))
    upstream, listen, admin = (free_port() for _ in range(3))
    config = {
        "model": "wine",
        "capture": {"paths": ["/invocations"]},
        "drift": [{"reference": "reference.npy", "window": 25, "expected_run_length": 100_000, "seed": 1}],
    }
    (tmp_path / "exporter.yaml").write_text(yaml.safe_dump(config))
    serve = ["mlflow", "models", "serve", "-m", "model", "--env-manager", "local", "-h", "127.0.0.1"]
    sidecar = cli(
        "sidecar",
        *("--upstream", f"http://127.0.0.1:{upstream}", "--listen", f"127.0.0.1:{listen}"),
        *("--admin", f"127.0.0.1:{admin}", "--config", "exporter.yaml"),
    )
    with (
        contextlib.ExitStack() as stack,
        process(
            [str(binaries / serve[0]), *serve[1:], "-p", str(upstream)],
            cwd=tmp_path,
            env=environment,
            log=tmp_path / "mlflow.log",
        ),
        process(sidecar, cwd=tmp_path, log=tmp_path / "sidecar.log"),
    ):
        wait_for(lambda: get(upstream, "/ping")[0] == 200, 120, "MLflow's readiness")
        wait_for(lambda: get(admin, "/-/ready")[0] == 200, 60, "the sidecar's readiness")
        state = ("drift_detector_state", "mmd", "filling")
        wait_for(lambda: samples(admin)[state] == 1, 120, "the calibration")
        client = stack.enter_context(contextlib.closing(Client(listen, seed=3)))
        for index in range(200):
            client.ask(wines.draw(1 + index % 3))
        calm = counted(admin, client)
        assert calm[("drift_active", "mmd")] == 0
        model = json.loads(get(admin, "/api/v1/status")[1])["models"][0]
        assert (model["read"], model["not_read"]) == (100, [])
        (found,) = model["found"]
        assert (found["path"], found["decoder"]) == ("/invocations", "kserve-v1")
        assert found["features"] == SORTED
        for _ in range(60):
            client.ask(wines.draw(2, shift=3.0))
        assert counted(admin, client)[("drift_active", "mmd")] == 1


def by_name(rows: np.ndarray) -> np.ndarray:
    """Columns in the order of their names, as named features are tested."""
    return rows[:, [NAMES.index(name) for name in SORTED]]


def counted(admin: int, client: Client) -> dict[tuple[str, ...], float]:
    """A scrape in which everything that the client saw is accounted for, checked against the client."""
    total = client.classes.total()

    def settled() -> bool:
        return samples(admin)[("inference_exporter_processed_total",)] == total

    wait_for(settled, 30, f"{total} observations processed")
    found = samples(admin)
    assert found[("inference_exporter_observations_total", "sidecar")] == total
    assert sum(n for key, n in found.items() if key[0] == "inference_exporter_dropped_total") == 0
    classes = {key[1]: n for key, n in found.items() if key[0] == "predicted_class_total" and n}
    assert classes == dict(client.classes)
    assert found[("drift_test_stat_count", "mmd")] == total - 24
    return found
