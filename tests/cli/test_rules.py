"""``inference-exporter rules``: files, or a resource for the Prometheus operator."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from exporter.config import Config
from exporter.mixin.rules import prometheus_rules
from exporter.mixin.terms import Terms
from tests.cli.conftest import Run


def test_files_are_written_for_prometheus_and_grafana(run: Run, tmp_path: Path) -> None:
    status, out, _ = run("rules", "--out", str(tmp_path))
    assert status == 0
    assert {str(Path(line).relative_to(tmp_path)) for line in out.splitlines()} == {
        "prometheus/inference-exporter.rules.yml",
        *(f"grafana/alerting/{name}.yml" for name in ("rules", "contact-points", "policies")),
    }


def test_a_resource_for_the_operator_has_the_same_rules_and_the_labels_it_selects(
    run: Run, tmp_path: Path
) -> None:
    config = tmp_path / "config.yml"
    config.write_text("model: Food 11_b\nalerts: {job: models/food, errors_per_second: 3}\n")
    arguments = ("--config", str(config), "--format", "prometheusrule", "--out", str(tmp_path / "rules"))
    status, out, _ = run("rules", *arguments, "--label", "release=kube-prometheus-stack", "--label", "team=")
    assert (status, out.strip()) == (0, str(tmp_path / "rules" / "prometheusrule.yaml"))
    resource = yaml.safe_load(Path(out.strip()).read_text())
    assert resource["kind"] == "PrometheusRule"
    assert resource["metadata"]["name"] == "inference-exporter-food-11-b"
    assert resource["metadata"]["labels"] == {
        "app.kubernetes.io/part-of": "inference-exporter",
        "release": "kube-prometheus-stack",
        "team": "",
    }
    settings = Config.model_validate(yaml.safe_load(config.read_text()))
    assert resource["spec"] == prometheus_rules(Terms.of(settings))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--format", "prometheusrule", "--label", "release"),
            "--label: received 'release'; a label is KEY=VALUE",
        ),
        (
            ("--format", "prometheusrule", "--label", "a=b=c"),
            "--label: received 'a=b=c'; a label is KEY=VALUE",
        ),
        (("--format", "prometheusrule", "--label", f"a={'b' * 64}"), "a label is KEY=VALUE"),
        (("--label", "release=x"), "--label: received 'release=x'; files have no labels, add --format"),
    ],
)
def test_a_wrong_label_is_named_and_nothing_is_written(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    status, _, errors = run("rules", "--out", str(tmp_path / "rules"), *arguments)
    assert status == 2
    assert message in errors
    assert not (tmp_path / "rules").exists()
