"""Write the generated files under deploy/, or with --check say which disagree with their source.

python deploy/build.py [--check]
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

from exporter.config import AlertsConfig
from exporter.mixin.rules import HEADER, dump, prometheus_rule, prometheus_rules, write_rules
from exporter.mixin.terms import Terms

DEPLOY = Path(__file__).parent
SOURCE = "change exporter/mixin/*_alerts.py or recording.py, not this file, and run python deploy/build.py"
_ALERTS = ".Values.exporter.config.alerts"

# Values that stand for those of the chart: each is found again in the text of the rules, wherever it went.
_STAND_INS = AlertsConfig.model_construct(
    errors_per_second=771.0,
    server_error_ratio=0.7713,
    min_confidence=0.7717,
    latency_sla=0.7727,
    latency_objective=0.9877,
    rising_score_ratio=0.7719,
    drift_page_after=7741.0,
    drift_page_ratio=7.753,
    reference_max_age=8_640_077.0,
    class_shift=0.7723,
    job="a-job",
    runbook_url="https://a-runbook",
)
_BURN = f"minf 0.9 (round (mulf {{}} (subf 1 {_ALERTS}.latency_objective)) 6)"
_EXPRESSIONS = {
    "771": f"{_ALERTS}.errors_per_second",
    "0.7713": f"{_ALERTS}.server_error_ratio",
    "0.7717": f"{_ALERTS}.min_confidence",
    "0.7727": f"{_ALERTS}.latency_sla",
    "0.9877": f"{_ALERTS}.latency_objective",
    "0.17712": _BURN.format("14.4"),
    "0.0738": _BURN.format("6"),
    "0.7719": f"{_ALERTS}.rising_score_ratio",
    "7.753": f"{_ALERTS}.drift_page_ratio",
    "8640077": f"int64 {_ALERTS}.reference_max_age",
    "0.7723": f"{_ALERTS}.class_shift",
    # How long a drift lasts until it pages, a quarter of that, and nine tenths of each in evaluations.
    "7741": f"int64 {_ALERTS}.drift_page_after",
    "232.23": f"mulf 0.03 {_ALERTS}.drift_page_after",
    "1935250ms": f"div {_ALERTS}.drift_page_after 4",
    "58.0575": f"mulf 0.0075 {_ALERTS}.drift_page_after",
    "a-job": "",
    "https://a-runbook": f"{_ALERTS}.runbook_url",
}


def helm_rules() -> str:
    """Write the chart's template of a PrometheusRule: for one release, with the limits of its values.

    Raises
    ------
    ValueError
        If one of the stand-ins is not in the text of the rules, which then would not heed its value.
    """
    text = dump(prometheus_rules(Terms(_STAND_INS)))
    # What Prometheus fills in is left to it.
    text = re.sub(r"\{\{.*?\}\}", lambda match: f"{{{{`{match[0]}`}}}}", text)
    # A whole number is a bucket's bound with .0 or without.
    text = text.replace('le="0.7727"', 'le=~"0.7727([.]0)?"')
    for stand_in, expression in _EXPRESSIONS.items():
        pattern = rf"(?<![\w.]){re.escape(stand_in)}(?![\d.]*\d)"
        written = f"{{{{ {expression} }}}}" if expression else "{{ .Release.Namespace }}/{{ .Release.Name }}"
        if stand_in.endswith("ms"):
            written += "s"
        text, count = re.subn(pattern, written.replace("\\", r"\\"), text)
        if not count:
            raise ValueError(f"{stand_in}: not in the rules, so that {expression} would change nothing")
    labels = (
        '{{- toYaml (merge (dict "app.kubernetes.io/name" .Release.Name "app.kubernetes.io/part-of" '
        '"inference-exporter") .Values.prometheusRule.labels .Values.commonLabels) | nindent 4 }}'
    )
    body = "".join(f"  {line}\n" for line in text.splitlines())
    return (
        "{{- if .Values.prometheusRule.enabled }}\n"
        "# Written by python deploy/build.py.\n"
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n"
        f"  name: {{{{ .Release.Name }}}}\n  labels:\n    {labels}\nspec:\n{body}{{{{- end }}}}\n"
    )


def write(folder: Path) -> list[Path]:
    """Write every generated file below ``folder``."""
    texts = {
        "kubernetes/monitoring/prometheusrule.yaml": HEADER + dump(prometheus_rule(Terms.of(None), {})),
        "helm/inference-exporter/templates/prometheusrule.yaml": helm_rules(),
    }
    written = write_rules(None, folder)
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def disagreements(folder: Path = DEPLOY) -> list[str]:
    """Say for each generated file that differs from what its source gives what to change instead."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for fresh in write(Path(scratch)):
            path = folder / fresh.relative_to(scratch)
            if not path.is_file() or path.read_text(encoding="utf-8") != fresh.read_text(encoding="utf-8"):
                found.append(f"{path}: differs from its source; {SOURCE}")
    return found


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a file disagrees")
    if parser.parse_args().check:
        found = disagreements()
        print("\n".join(found) or "deploy/ agrees with its source", file=sys.stderr)
        return 1 if found else 0
    write(DEPLOY)
    return 0


if __name__ == "__main__":
    sys.exit(main())
