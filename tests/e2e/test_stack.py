"""The stack's own troubles: a program, a token file or an Alertmanager that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples import stack as stack_module
from examples.stack import StackFailed, missing_programs, running_stack
from tests.servers import free_port, wait_for

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(missing_programs()), reason="Prometheus or Alertmanager is not installed"),
]


def test_programs_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module, "PROGRAMS", ("prometheus", "no-such-program"))
    with (
        pytest.raises(StackFailed, match="not installed: no-such-program; apt-get install no-such-program"),
        running_stack(tmp_path, {}),
    ):
        pass


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(StackFailed, match=r"token file .*nothing: missing; write the exporter's admin.token"),
        running_stack(tmp_path, {"a": "127.0.0.1:1"}, token_file=tmp_path / "nothing"),
    ):
        pass


def test_a_server_that_ends_is_reported_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    routing = tmp_path / "routing.yml"
    routing.write_text(stack_module.ROUTING.read_text().replace("[job]", "7"))
    monkeypatch.setattr(stack_module, "ROUTING", routing)
    with (
        pytest.raises(StackFailed, match="prometheus-alertmanager did not start; the end of"),
        running_stack(tmp_path / "stack", {}),
    ):
        pass


def test_alerts_go_on_without_alertmanager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = free_port()
    build = stack_module._prometheus

    def to_nobody(targets, _port, *rest):
        return build(targets, away, *rest)

    monkeypatch.setattr(stack_module, "_prometheus", to_nobody)
    rules = 'groups: [{name: a, rules: [{alert: Always, expr: "vector(1)", labels: {job: x}}]}]'

    def one_rule(_config, folder, **_):
        (folder / "prometheus").mkdir(parents=True)
        (folder / "prometheus" / "one.rules.yml").write_text(rules)

    monkeypatch.setattr(stack_module, "write_rules", one_rule)
    with running_stack(tmp_path, {}) as stack:
        wait_for(lambda: [c for c in stack.changes if c.state == "firing"], 30, "the alert")
        wait_for(lambda: [a for a in stack.alerts() if a["state"] == "firing"], 10)
        assert all(rule["health"] in ("ok", "unknown") for rule in stack.rules())
        assert [c for c in stack.changes if c.state == "delivered"] == []
