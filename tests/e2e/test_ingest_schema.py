"""The ingest API held against its own OpenAPI document by schemathesis, on a real listener."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from starlette.applications import Starlette

from exporter.config import IngestConfig
from exporter.receivers.ingest.app import IngestApp
from exporter.sidecar.server import ServerThread, listening
from tests.receivers.ingest.test_app import Sink

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-schemathesis"


class Welcoming(Sink):
    """Takes observations of any model."""

    def accepts(self, model: str) -> bool:
        return True


def installed() -> Path:
    """Schemathesis's own environment, made when it is not there."""
    command = VENV / "bin" / "schemathesis"
    if not command.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        pip = [VENV / "bin" / "pip", "install", "-q", "-c", ROOT / "constraints-schemathesis.txt"]
        subprocess.run([*pip, "schemathesis"], check=True)
    return command


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_the_ingest_api_is_what_its_document_says(tmp_path):
    """Every check: no 5xx, what the schema allows is taken, what it forbids is refused."""
    sink = Welcoming()
    app = IngestApp(IngestConfig(enabled=True), model="food", sink=sink)
    server = ServerThread(Starlette(routes=app.routes), listening("127.0.0.1:0", "admin.listen"))
    server.start()
    try:
        url = f"http://{server.address}/v1/openapi.json"
        options = ["--checks", "all", "--max-examples", "20", "--seed", "1", "--no-color"]
        result = subprocess.run(
            [installed(), "run", url, *options], cwd=tmp_path, capture_output=True, text=True, check=False
        )
    finally:
        server.stop()
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(sink.counted) > 100
    assert {status for _, status in sink.counted} <= {200, 202, 400, 405, 413, 415, 422}
