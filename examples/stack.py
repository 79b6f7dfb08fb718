"""Prometheus and Alertmanager from the system's packages, on loopback, with the project's own rule files.

    python -m examples.stack digits=127.0.0.1:8000

scrapes what is named, evaluates the rules in a minute instead of an hour, and prints every alert that
becomes pending, fires, reaches the webhook and resolves.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from exporter.config import Config
from exporter.mixin import write_rules

ROUTING = Path(__file__).parents[1] / "deploy" / "alertmanager" / "alertmanager.yml"
PROGRAMS = ("prometheus", "prometheus-alertmanager")
TIME_SCALE = 1 / 60
START_SECONDS = 60.0
STOP_SECONDS = 10.0
_SCRAPES_PER_WINDOW = 4


class StackFailed(RuntimeError):
    """A server of the stack ended, or did not answer in time; the message has the end of its log."""


def missing_programs() -> list[str]:
    """Name the programs that are not installed; Debian's packages have the same names."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@dataclass(frozen=True, slots=True)
class Change:
    """An alert that changed: ``state`` is pending, firing, inactive, or delivered/resolved by webhook."""

    at: float
    state: str
    labels: dict[str, str]
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def alert(self) -> str:
        """The alert's name."""
        return self.labels["alertname"]

    def line(self) -> str:
        """One line for people."""
        hidden = {"alertname", "component", "severity", "instance"}
        labels = ", ".join(
            f"{key} {value}" for key, value in sorted(self.labels.items()) if key not in hidden
        )
        clock = time.strftime("%H:%M:%S", time.localtime(self.at))
        text = f"{clock}  {self.state:<9}  {self.alert} ({labels})"
        summary = self.annotations.get("description") if self.state == "firing" else None
        return f"{text}: {summary}" if summary else text


@dataclass(slots=True)
class Stack:
    """The running servers, and what happened so far."""

    prometheus: str
    alertmanager: str
    scrape_seconds: float
    changes: list[Change]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Evaluate PromQL now; each element has ``metric`` and ``value``.

        Raises
        ------
        ValueError
            With Prometheus's own words, if it refuses the expression.
        """
        result: list[dict[str, Any]] = self._get("query", query=expr)["result"]
        return result

    def query_range(self, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Evaluate PromQL over a time range; each element has ``metric`` and ``values``."""
        data = self._get("query_range", query=expr, start=start, end=end, step=step)
        result: list[dict[str, Any]] = data["result"]
        return result

    def alerts(self) -> list[dict[str, Any]]:
        """List Prometheus's pending and firing alerts."""
        result: list[dict[str, Any]] = self._get("alerts")["alerts"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        """List all rules with their health."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str, **parameters: object) -> dict[str, Any]:
        address = f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with _open(address) as answer:
                body = json.load(answer)
        except urllib.request.HTTPError as error:
            raise ValueError(f"{parameters.get('query', path)}: {json.load(error)['error']}") from None
        data: dict[str, Any] = body["data"]
        return data


@contextmanager
def running_stack(
    folder: Path,
    targets: Mapping[str, str],
    *,
    config: Config | None = None,
    time_scale: float = TIME_SCALE,
    scrape_seconds: float = 1.0,
    on_change: Callable[[Change], None] | None = None,
    token_file: Path | None = None,
) -> Iterator[Stack]:
    """Start Prometheus, Alertmanager and a webhook receiver; stop them at the end.

    Parameters
    ----------
    folder
        For configuration, data and logs.
    targets
        Job name to HOST:PORT of what is scraped at ``/metrics``.
    config
        Whose rules; None for the rules of every model.
    time_scale
        Factor on every window and pending period of the rules.
    scrape_seconds
        Interval of scrapes.
    on_change
        Called for every change of an alert, from another thread.
    token_file
        File with the token that the targets want.

    Raises
    ------
    StackFailed
        If a program is not installed, ends, or does not answer; if the token file is missing.
    """
    if missing := missing_programs():
        raise StackFailed(f"not installed: {', '.join(missing)}; apt-get install {' '.join(missing)}")
    if token_file is not None and not token_file.is_file():
        raise StackFailed(f"token file {token_file}: missing; write the exporter's admin.token into it")
    folder.mkdir(parents=True, exist_ok=True)
    changes: list[Change] = []
    lock = threading.Lock()

    def note(change: Change) -> None:
        with lock:
            changes.append(change)
            if on_change is not None:
                on_change(change)

    with contextlib.ExitStack() as running:
        receiver = running.enter_context(_webhook(note))
        ports = [_free_port(), _free_port()]
        write_rules(
            config, folder, time_scale=time_scale, min_window_seconds=_SCRAPES_PER_WINDOW * scrape_seconds
        )
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(_alertmanager(receiver)))
        (folder / "prometheus.yml").write_text(
            yaml.safe_dump(_prometheus(targets, ports[1], scrape_seconds, token_file))
        )
        addresses = [f"127.0.0.1:{port}" for port in ports]
        for program, arguments, address in (
            (
                "prometheus-alertmanager",
                [
                    "--config.file=alertmanager.yml",
                    "--storage.path=alertmanager",
                    "--cluster.listen-address=",
                ],
                addresses[1],
            ),
            (
                "prometheus",
                ["--config.file=prometheus.yml", "--storage.tsdb.path=prometheus", "--log.level=warn"],
                addresses[0],
            ),
        ):
            command = [program, *arguments, f"--web.listen-address={address}"]
            running.enter_context(_process(command, folder, f"http://{address}/-/ready"))
        stack = Stack(f"http://{addresses[0]}", f"http://{addresses[1]}", scrape_seconds, changes)
        running.enter_context(_watching(stack, note))
        yield stack


def _prometheus(
    targets: Mapping[str, str], alertmanager: int, scrape_seconds: float, token_file: Path | None
) -> dict[str, Any]:
    interval = f"{round(scrape_seconds * 1000)}ms"
    access = {"authorization": {"credentials_file": str(token_file.resolve())}} if token_file else {}
    return {
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "evaluation_interval": interval,
        },
        "rule_files": ["prometheus/*.rules.yml"],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}],
        },
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [address]}], **access}
            for job, address in targets.items()
        ],
    }


def _alertmanager(webhook: int) -> dict[str, Any]:
    """Take the deployed routing, with its waits shortened and its address replaced."""
    content: dict[str, Any] = yaml.safe_load(ROUTING.read_text(encoding="utf-8"))
    for route in (content["route"], *content["route"]["routes"]):
        route.update(group_wait="1s", group_interval="1s", repeat_interval="1h")
    for receiver in content["receivers"]:
        for hook in receiver["webhook_configs"]:
            hook["url"] = f"http://127.0.0.1:{webhook}/"
    return content


@contextmanager
def _webhook(note: Callable[[Change], None]) -> Iterator[int]:
    """Receive what Alertmanager sends, on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            for alert in body["alerts"]:
                state = "delivered" if alert["status"] == "firing" else "resolved"
                note(Change(time.time(), state, alert["labels"], alert["annotations"]))

        def log_message(self, *_: object) -> None:
            """Stay quiet; what is received is reported as a change."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join(STOP_SECONDS)


@contextmanager
def _watching(stack: Stack, note: Callable[[Change], None]) -> Iterator[None]:
    """Look at Prometheus's alerts a few times a second, and note what changed."""
    stop = threading.Event()

    def watch() -> None:
        known: dict[str, tuple[str, dict[str, str]]] = {}
        while not stop.wait(0.3):
            try:
                current = {json.dumps(a["labels"], sort_keys=True): a for a in stack.alerts()}
            except (OSError, ValueError, http.client.HTTPException):
                continue
            for key, alert in current.items():
                if known.get(key, ("", {}))[0] != alert["state"]:
                    known[key] = (alert["state"], alert["labels"])
                    note(Change(time.time(), alert["state"], alert["labels"], alert["annotations"]))
            for key in known.keys() - current.keys():
                note(Change(time.time(), "inactive", known.pop(key)[1]))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(STOP_SECONDS)


@contextmanager
def _process(command: list[str], folder: Path, ready: str) -> Iterator[None]:
    """Run a server until the end of the block; wait until it is ready."""
    log = folder / f"{command[0]}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
                raise StackFailed(f"{command[0]} did not start; the end of {log}:\n{tail}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(address: str) -> bool:
    try:
        with _open(address) as answer:
            return bool(answer.status == http.client.OK)
    except (OSError, http.client.HTTPException):
        return False


def _open(address: str) -> Any:
    # Loopback only; a proxy of the environment would be asked for it otherwise.
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=5)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def main() -> None:
    """Run the command line until Ctrl-C."""
    parser = argparse.ArgumentParser(
        description="Prometheus and Alertmanager with the project's rules, on loopback."
    )
    parser.add_argument("targets", nargs="+", metavar="JOB=HOST:PORT", help="what to scrape")
    parser.add_argument("--time-scale", type=float, default=TIME_SCALE, help="1 for the rules as deployed")
    parser.add_argument("--token-file", type=Path, help="file with the token that the targets want")
    arguments = parser.parse_args()
    targets = dict(target.split("=", 1) for target in arguments.targets)

    def show(change: Change) -> None:
        print(change.line(), flush=True)

    with tempfile.TemporaryDirectory(prefix="inference-exporter-stack-") as folder:
        try:
            with running_stack(
                Path(folder),
                targets,
                time_scale=arguments.time_scale,
                on_change=show,
                token_file=arguments.token_file,
            ) as stack:
                print(
                    f"Prometheus {stack.prometheus}, Alertmanager {stack.alertmanager}; Ctrl-C ends",
                    flush=True,
                )
                threading.Event().wait()
        except StackFailed as error:
            raise SystemExit(f"failed: {error}") from None
        except KeyboardInterrupt:
            print("\nstopped; nothing is left running")


if __name__ == "__main__":
    main()
