"""MLServer, unmodified, with six scikit-learn models: one sidecar keeps five of them apart, and no more."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from tests.e2e.test_mlserver import installed
from tests.servers import cli, free_port, get, process, wait_for

TRAIN = """
import joblib, sys
from sklearn import datasets
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
logistic = lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
for name, data, model in (
    ("wine", "wine", logistic()),
    ("wine-tree", "wine", DecisionTreeClassifier(max_depth=3, random_state=0)),
    ("iris", "iris", logistic()),
    ("digits", "digits", logistic()),
    ("cancer", "breast_cancer", GaussianNB()),
    ("iris-bayes", "iris", GaussianNB()),
):
    model.fit(*getattr(datasets, "load_" + data)(return_X_y=True))
    joblib.dump(model, f"{sys.argv[1]}/{name}/model.joblib")
"""
DATA = {
    "wine": load_wine,
    "wine-tree": load_wine,
    "iris": load_iris,
    "digits": load_digits,
    "cancer": load_breast_cancer,
    "iris-bayes": load_iris,
}
KEPT_APART = tuple(DATA)[:5]
VERSIONED = {"iris": "v3"}
WANTED = [{"name": "predict"}, {"name": "predict_proba"}]


def write_models(folder: Path, python: Path) -> None:
    for name in DATA:
        (folder / name).mkdir()
        settings = {
            "name": name,
            "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": "./model.joblib"} | ({"version": "v3"} if name in VERSIONED else {}),
        }
        (folder / name / "model-settings.json").write_text(json.dumps(settings))
    subprocess.run([python, "-c", TRAIN, folder], check=True)


def samples(admin: int) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample of each model, by name and the values of its other labels."""
    found: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for family in text_string_to_metric_families(get(admin, "/metrics")[1]):
        for sample in family.samples:
            labels = dict(sample.labels)
            if (model := labels.pop("model", None)) is not None:
                version = labels.pop("version")
                shown = model if not version else f"{model} {version}"
                found[shown][(sample.name, *(value for _, value in sorted(labels.items())))] = sample.value
    return found


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_one_sidecar_before_many_models(tmp_path: Path):
    binaries = installed()
    write_models(tmp_path, binaries / "python")
    http_port, grpc_port, metrics_port, listen, admin = (free_port() for _ in range(5))
    settings = {
        "host": "127.0.0.1",
        "http_port": http_port,
        "grpc_port": grpc_port,
        "metrics_port": metrics_port,
        "parallel_workers": 0,
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    config = {
        "model": "auto",
        "version": "auto",
        "max_models": 5,
        "capture": {"paths": ["/v2/models/*"]},
        "drift": [{"reference": {"learn": 100}, "window": 10, "expected_run_length": 100_000, "seed": 1}],
        "models": {"wine": {}, "*-tree": {"drift": []}},
    }
    (tmp_path / "exporter.yaml").write_text(yaml.safe_dump(config))
    ports = (f"http://127.0.0.1:{http_port}", f"127.0.0.1:{listen}", f"127.0.0.1:{admin}")
    options = zip(("--upstream", "--listen", "--admin"), ports, strict=True)
    sidecar = cli("sidecar", *(each for pair in options for each in pair), "--config", "exporter.yaml")
    generator = np.random.default_rng(0)
    asked: Counter[str] = Counter()
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    confidences: dict[str, list[float]] = defaultdict(list)
    with (
        process([str(binaries / "mlserver"), "start", "."], cwd=tmp_path, log=tmp_path / "mlserver.log"),
        process(sidecar, cwd=tmp_path, log=tmp_path / "sidecar.log"),
    ):
        wait_for(lambda: get(http_port, "/v2/health/ready")[0] == 200, 240, "MLServer's readiness")
        wait_for(lambda: get(admin, "/-/ready")[0] == 200, 60, "the sidecar's readiness")
        assert set(samples(admin)) == {"wine", "other"}  # what is known beforehand, with 0
        connection = http.client.HTTPConnection("127.0.0.1", listen, timeout=60)
        for turn in range(60):
            for name, load in DATA.items():
                rows = load().data[generator.integers(len(load().data), size=1 + turn % 3)]
                tensor = {"name": "x", "shape": list(rows.shape), "datatype": "FP64", "data": rows.tolist()}
                version = f"/versions/{VERSIONED[name]}" if name in VERSIONED and turn % 2 else ""
                body = json.dumps({"inputs": [tensor], "outputs": WANTED})
                headers = {"content-type": "application/json"}
                connection.request("POST", f"/v2/models/{name}{version}/infer", body, headers)
                answer = connection.getresponse()
                data = answer.read()
                assert answer.status == 200, data
                predict, proba = json.loads(data)["outputs"]
                shown = "other" if name not in KEPT_APART else name
                shown = f"{shown} {VERSIONED[name]}" if name in VERSIONED else shown
                asked[shown] += len(rows)
                classes[shown].update(str(item) for item in predict["data"])
                confidences[shown] += np.reshape(proba["data"], proba["shape"]).max(axis=1).tolist()
        connection.close()

        def settled() -> dict[str, dict[tuple[str, ...], float]] | None:
            found = samples(admin)
            done = {name: each["inference_exporter_processed_total",] for name, each in found.items()}
            return found if +Counter(done) == asked else None

        found = wait_for(settled, 60, "everything processed")
        assert set(asked) == {"wine", "wine-tree", "iris v3", "digits", "cancer", "other"}
        for name, n in asked.items():
            shown = found[name]
            assert shown["inference_exporter_observations_total", "sidecar"] == n
            assert shown["inference_exporter_queued",] == 0
            assert not any(shown[key] for key in shown if key[0] == "inference_exporter_dropped_total")
            counted = {key[1]: value for key, value in shown.items() if key[0] == "predicted_class_total"}
            assert +Counter(counted) == classes[name]
            assert shown["prediction_confidence_count",] == n
            assert shown["prediction_confidence_sum",] == pytest.approx(sum(confidences[name]))
            tested = name not in ("wine-tree", "other")
            assert (("drift_active", "mmd") in shown) is tested
        wait_for(
            lambda: all(
                samples(admin)[name]["drift_detector_state", "mmd", "filling"]
                for name in asked
                if name not in ("wine-tree", "other")
            ),
            120,
            "a calibration of each",
        )
