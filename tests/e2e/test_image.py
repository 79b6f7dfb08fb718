"""The image's command line, started for real from a wheel in a bare virtual environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.stage import Regression, small_server
from tests.servers import free_port, get, process, request, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[2]


def dockerfile_list(word: str) -> list[str]:
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    base = text[text.index(" AS base") : text.index(" AS torch")]
    found: list[str] = json.loads(re.search(rf"^{word} (\[.*\])$", base, re.MULTILINE)[1])
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and what it asks for, and nothing else."""
    folder = tmp_path_factory.mktemp("image")
    source = folder / "source"
    for name in ("exporter", "dashboards/grafana"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), str(source)], check=True, cwd=folder)
    return folder


def test_the_images_command_line_starts_and_serves(installed: Path) -> None:
    program, *arguments = [*dockerfile_list("ENTRYPOINT"), *dockerfile_list("CMD")]
    data, admin = free_port(), free_port()
    arguments = [argument.replace("0.0.0.0:8080", f"127.0.0.1:{data}") for argument in arguments]
    arguments = [argument.replace("0.0.0.0:10911", f"127.0.0.1:{admin}") for argument in arguments]
    with small_server(Regression) as upstream:
        environment = {
            "PATH": os.environ["PATH"],
            "INFERENCE_EXPORTER__SIDECAR__UPSTREAM": f"http://127.0.0.1:{upstream}",
        }
        command = [str(installed / "venv/bin" / program), *arguments]
        with process(command, env=environment, cwd=installed, log=installed / "log"):
            wait_for(lambda: get(admin, "/-/healthy")[0] == 200, 60, "the sidecar")
            status, body = request(
                data, "POST", "/predict", b'{"x": 1}', {"Content-Type": "application/json"}
            )
            assert (status, "value" in json.loads(body)) == (200, True)
            wait_for(
                lambda: 'source="sidecar",version=""} 1.0' in get(admin, "/metrics")[1], 20, "the observation"
            )


def test_rules_and_dashboards_come_with_the_wheel(installed: Path) -> None:
    (installed / "config.yml").write_text("model: mine\nalerts: {latency_sla: 1s}\n")
    program = str(installed / "venv/bin/inference-exporter")
    for command, first in (
        ("rules", "prometheus/inference-exporter.rules.yml"),
        ("dashboards", "service.json"),
    ):
        out = installed / command
        subprocess.run(
            [program, command, "--config", "config.yml", "--out", str(out)], check=True, cwd=installed
        )
        assert (out / first).is_file()


def test_the_default_image_holds_no_torch(installed: Path) -> None:
    result = subprocess.run(
        [installed / "venv/bin/python", "-m", "pip", "list", "--format=freeze"],
        capture_output=True,
        text=True,
        check=True,
    )
    names = {line.partition("==")[0].lower() for line in result.stdout.splitlines()}
    assert "inference-exporter" in names
    assert not names & {"torch", "fastapi", "grafana-foundation-sdk", "scikit-learn"}
