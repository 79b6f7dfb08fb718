"""MLServer, unmodified, with a scikit-learn model over Open Inference V2, behind the sidecar."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from sklearn.datasets import load_wine

from tests.servers import cli, free_port, get, process, wait_for

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-mlserver"
TRAIN = """
import joblib, sys
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
model = make_pipeline(StandardScaler(), LogisticRegression()).fit(*load_wine(return_X_y=True))
joblib.dump(model, sys.argv[1])
"""
WANTED = [{"name": "predict"}, {"name": "predict_proba"}]
CONFIDENCE_BUCKETS = [step / 10 for step in range(11)]


def installed() -> Path:
    """MLServer's own environment, made when it is not there."""
    if not (VENV / "bin" / "mlserver").exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        pip = [VENV / "bin" / "pip", "install", "-q", "-c", ROOT / "constraints-mlserver.txt"]
        subprocess.run([*pip, "mlserver", "mlserver-sklearn"], check=True)
    return VENV / "bin"


class Wines:
    """Rows around the 178 real wines of the data set: each jittered by a twentieth of its spread."""

    def __init__(self, seed: int) -> None:
        self._rows = load_wine().data
        self._spread = self._rows.std(axis=0)
        self._generator = np.random.default_rng(seed)

    def draw(self, count: int, shift: float = 0.0) -> np.ndarray:
        """(count, 13) rows, moved by ``shift`` standard deviations in every feature."""
        rows = self._rows[self._generator.integers(len(self._rows), size=count)]
        noise = self._generator.normal(size=rows.shape) * self._spread / 20
        return rows + noise + shift * self._spread


class Client:
    """Asks for predictions over one connection, and counts what it is told."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.classes: Counter[str] = Counter()
        self.confidences: list[float] = []
        self.requests = 0

    def close(self) -> None:
        self._connection.close()

    def ask(self, rows: np.ndarray) -> None:
        tensor = {"name": "wine", "shape": list(rows.shape), "datatype": "FP64", "data": rows.tolist()}
        body = json.dumps({"id": f"q{self.requests}", "inputs": [tensor], "outputs": WANTED})
        headers = {"content-type": "application/json"}
        if self.requests % 2:
            headers["accept-encoding"] = "gzip"
        self._connection.request("POST", "/v2/models/wine/infer", body, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.getheader("content-encoding") == "gzip":
            data = gzip.decompress(data)
        assert answer.status == 200, data
        predict, proba = json.loads(data)["outputs"]
        self.classes.update(str(item) for item in predict["data"])
        self.confidences += np.reshape(proba["data"], proba["shape"]).max(axis=1).tolist()
        self.requests += 1


def samples(admin: int) -> dict[tuple[str, ...], float]:
    """Every sample of a scrape, by name and the values of its labels but ``model`` and ``version``."""
    _, text = get(admin, "/metrics")
    return {
        (
            sample.name,
            *(value for name, value in sorted(sample.labels.items()) if name not in ("model", "version")),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_mlserver_behind_the_sidecar(tmp_path):
    binaries = installed()
    subprocess.run([binaries / "python", "-c", TRAIN, tmp_path / "model.joblib"], check=True)
    http_port, grpc_port, metrics_port, listen, admin = (free_port() for _ in range(5))
    (tmp_path / "settings.json").write_text(
        json.dumps(
            {
                "host": "127.0.0.1",
                "http_port": http_port,
                "grpc_port": grpc_port,
                "metrics_port": metrics_port,
                "parallel_workers": 0,
            }
        )
    )
    (tmp_path / "model-settings.json").write_text(
        json.dumps(
            {
                "name": "wine",
                "implementation": "mlserver_sklearn.SKLearnModel",
                "parameters": {"uri": "./model.joblib"},
            }
        )
    )
    wines = Wines(seed=1)
    np.save(tmp_path / "reference.npy", wines.draw(1000))
    config = {
        "model": "wine",
        "capture": {"paths": ["/v2/models/wine/infer"]},
        "drift": [{"reference": "reference.npy", "window": 25, "expected_run_length": 100_000, "seed": 1}],
    }
    (tmp_path / "exporter.yaml").write_text(yaml.safe_dump(config))
    sidecar = cli(
        "sidecar",
        "--upstream",
        f"http://127.0.0.1:{http_port}",
        "--listen",
        f"127.0.0.1:{listen}",
        "--admin",
        f"127.0.0.1:{admin}",
        "--config",
        "exporter.yaml",
    )
    with (
        contextlib.ExitStack() as stack,
        process([str(binaries / "mlserver"), "start", "."], cwd=tmp_path, log=tmp_path / "mlserver.log"),
        process(sidecar, cwd=tmp_path, log=tmp_path / "sidecar.log"),
    ):
        wait_for(lambda: get(http_port, "/v2/health/ready")[0] == 200, 120, "MLServer's readiness")
        wait_for(lambda: get(admin, "/-/ready")[0] == 200, 60, "the sidecar's readiness")
        wait_for(
            lambda: samples(admin)[("drift_detector_state", "mmd", "filling")] == 1, 120, "the calibration"
        )
        client = stack.enter_context(contextlib.closing(Client(listen)))
        for index in range(300):
            client.ask(wines.draw(1 + index % 3))
        calm = counted(admin, client)
        assert calm[("drift_active", "mmd")] == 0
        assert calm[("drift_episodes_total", "mmd")] == 0
        for _ in range(60):
            client.ask(wines.draw(2, shift=3.0))
        drifted = counted(admin, client)
        assert drifted[("drift_active", "mmd")] == 1
        assert drifted[("drift_episodes_total", "mmd")] == 1
        assert drifted[("drift_score_ratio", "mmd")] > 1


def counted(admin: int, client: Client) -> dict[tuple[str, ...], float]:
    """A scrape in which everything that the client saw is accounted for, checked against the client."""
    total = len(client.confidences)

    def settled() -> dict[tuple[str, ...], float] | None:
        found = samples(admin)
        return found if found[("inference_exporter_processed_total",)] == total else None

    found = wait_for(settled, 30, f"{total} observations processed")
    assert found[("inference_exporter_observations_total", "sidecar")] == total
    assert sum(value for key, value in found.items() if key[0] == "inference_exporter_dropped_total") == 0
    classes = {key[1]: value for key, value in found.items() if key[0] == "predicted_class_total" and value}
    assert classes == dict(client.classes)
    assert found[("prediction_confidence_count",)] == total
    assert found[("prediction_confidence_sum",)] == pytest.approx(sum(client.confidences))
    for bound in CONFIDENCE_BUCKETS:
        expected = sum(confidence <= bound for confidence in client.confidences)
        assert found[("prediction_confidence_bucket", str(bound))] == expected
    assert found[("drift_test_stat_count", "mmd")] == total - 24
    return found
