"""The sidecar as a process, in front of a real HTTP server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.servers import cli, free_port, get, process, request, wait_for


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    arrived, go_on = threading.Event(), threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/slow":
            self.arrived.set()
            assert self.go_on.wait(60)
        answer = json.dumps({"prediction": json.loads(body)["say"], "probability": 0.75}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_OPTIONS(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


class Running:
    """A sidecar process and its addresses."""

    def __init__(self, child: subprocess.Popen[bytes], listen: int, admin: int, log: Path) -> None:
        self.child, self.listen, self.admin, self.log = child, listen, admin, log

    def sample(self, name: str, **labels: str) -> float:
        """The first sample of that name with those labels; 0 for a class that has not been seen."""
        _, text = get(self.admin, "/metrics")
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        assert "class_name" in labels, f"{name}{labels} is not in the scrape"
        return 0.0

    @property
    def analyzer(self) -> int:
        """The process that reads, tests and answers scrapes."""
        (child,) = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()
        return int(child)

    def say(self, what: str, path: str = "/predict") -> tuple[int, str]:
        return request(self.listen, "POST", path, json.dumps({"say": what}).encode())


@pytest.fixture
def sidecar(upstream: int, tmp_path: Path) -> Iterator[Running]:
    config = tmp_path / "exporter.yaml"
    config.write_text("model: m\ncapture: {paths: [/predict, /slow]}\n")
    listen, admin = free_port(), free_port()
    command = cli(
        "sidecar", "--upstream", f"http://127.0.0.1:{upstream}", "--listen", f"127.0.0.1:{listen}",
        "--admin", f"127.0.0.1:{admin}", "--config", str(config),
    )  # fmt: skip
    with process(command, log=tmp_path / "log") as child:
        wait_for(lambda: get(admin, "/-/ready")[0] == 200, what="readiness")
        yield Running(child, listen, admin, tmp_path / "log")


def test_answers_pass_and_are_counted(sidecar: Running) -> None:
    for _ in range(3):
        assert sidecar.say("cat") == (200, '{"prediction": "cat", "probability": 0.75}')
    sidecar.say("ignored", "/other")
    wait_for(lambda: sidecar.sample("inference_exporter_processed_total") == 3, what="three observations")
    assert sidecar.sample("predicted_class_total", class_name="cat") == 3
    assert sidecar.sample("prediction_confidence_sum", model="m") == pytest.approx(2.25)
    assert sidecar.sample("http_requests_total", handler="/predict", method="POST", status="2xx") == 3
    assert sidecar.sample("http_requests_total", handler="none", status="2xx") == 1
    assert sidecar.sample("inference_exporter_upstream_up") == 1


def test_what_asks_for_no_prediction_is_no_observation(sidecar: Running) -> None:
    for method in ("GET", "OPTIONS"):
        assert request(sidecar.listen, method, "/predict")[0] == 200
    sidecar.say("cat")
    wait_for(lambda: sidecar.sample("inference_exporter_processed_total") == 1, what="the observation")
    assert sidecar.sample("inference_exporter_observations_total", source="sidecar") == 1
    assert sidecar.sample("http_requests_total", handler="/predict", method="GET", status="2xx") == 1


def test_pages_of_the_admin_listener(sidecar: Running) -> None:
    assert get(sidecar.admin, "/-/healthy") == (200, "healthy\n")
    status, page = get(sidecar.admin, "/")
    assert status == 200
    assert "inference-exporter" in page
    assert "/metrics" in page
    assert get(sidecar.admin, "/nowhere")[0] == 404


def test_reload_takes_a_good_file_and_refuses_a_bad_one(sidecar: Running) -> None:
    config = sidecar.log.parent / "exporter.yaml"
    config.write_text("model: m\ncapture: {paths: [/other]}\n")
    sidecar.child.send_signal(signal.SIGHUP)
    wait_for(lambda: "was read again" in sidecar.log.read_text(), what="the reload")
    sidecar.say("dog", "/other")
    wait_for(lambda: sidecar.sample("predicted_class_total", class_name="dog") >= 1, what="the new path")
    assert sidecar.sample("inference_exporter_config_reload_success") == 1

    config.write_text("model: m\ncapture: {pahts: [/other]}\n")
    sidecar.child.send_signal(signal.SIGHUP)
    wait_for(lambda: sidecar.sample("inference_exporter_config_reload_success") == 0, what="the refusal")
    assert "did you mean paths?" in sidecar.log.read_text()
    sidecar.say("dog", "/other")
    wait_for(
        lambda: sidecar.sample("predicted_class_total", class_name="dog") == 2, what="the old file at work"
    )


def test_reload_of_what_is_no_yaml_leaves_all_at_work(sidecar: Running) -> None:
    sidecar.say("cat")
    wait_for(lambda: sidecar.sample("predicted_class_total", class_name="cat") == 1, what="the first")
    for n, text in enumerate(("model: {{ name }}\n", "model: !!int x\n", "model: " + "[" * 2000, "\0"), 1):
        (sidecar.log.parent / "exporter.yaml").write_text(text)
        sidecar.child.send_signal(signal.SIGHUP)
        wait_for(lambda n=n: sidecar.log.read_text().count("not valid YAML") == n, what="the refusal")
    sidecar.say("cat")
    wait_for(lambda: sidecar.sample("predicted_class_total", class_name="cat") == 2, what="the second")


def test_after_a_reload_requests_like_those_before_are_read_by_the_new_file(sidecar: Running) -> None:
    for _ in range(3):
        sidecar.say("cat")
    wait_for(lambda: sidecar.sample("predicted_class_total", class_name="cat") == 3, what="three of them")
    (sidecar.log.parent / "exporter.yaml").write_text("model: m\ncapture: {paths: [/other]}\n")
    sidecar.child.send_signal(signal.SIGHUP)
    wait_for(lambda: "was read again" in sidecar.log.read_text(), what="the reload")
    sidecar.say("cat")
    sidecar.say("dog", "/other")
    wait_for(lambda: sidecar.sample("predicted_class_total", class_name="dog") == 1, what="the new path")
    assert sidecar.sample("predicted_class_total", class_name="cat") == 3


def test_reload_that_needs_a_restart_says_so(sidecar: Running) -> None:
    (sidecar.log.parent / "exporter.yaml").write_text("queue: {max_items: 7}\n")
    sidecar.child.send_signal(signal.SIGHUP)
    wait_for(
        lambda: "queue.max_items: changed, which needs a restart" in sidecar.log.read_text(),
        what="the message",
    )


def test_stop_lets_an_answer_under_way_finish(sidecar: Running) -> None:
    answers: list[tuple[int, str]] = []
    asking = threading.Thread(target=lambda: answers.append(sidecar.say("late", "/slow")))
    asking.start()
    assert Service.arrived.wait(60)
    sidecar.child.send_signal(signal.SIGTERM)
    wait_for(lambda: get(sidecar.admin, "/-/ready") == (503, "draining\n"), what="not being ready")
    Service.go_on.set()
    asking.join()
    assert answers == [(200, '{"prediction": "late", "probability": 0.75}')]
    assert sidecar.child.wait(60) == 0


def test_traffic_passes_when_the_analyzer_dies_and_another_one_takes_over(sidecar: Running) -> None:
    sidecar.say("cat")
    wait_for(lambda: sidecar.sample("predicted_class_total", class_name="cat") == 1, what="an observation")
    first = sidecar.analyzer
    with socket.create_connection(("127.0.0.1", sidecar.listen), timeout=10) as open_before:
        wait_for(lambda: sidecar.sample("inference_exporter_proxy_connections") == 1, what="the connection")
        os.kill(first, signal.SIGKILL)
        assert sidecar.say("dog") == (200, '{"prediction": "dog", "probability": 0.75}')
        assert get(sidecar.admin, "/-/ready") == (200, "ready\n")
        wait_for(lambda: get(sidecar.admin, "/metrics")[0] == 200, what="the new analyzer")
        assert sidecar.analyzer != first
        body = json.dumps({"say": "fox"}).encode()
        open_before.sendall(b"POST /predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        answer = b""
        while b"fox" not in answer:
            piece = open_before.recv(65536)
            assert piece, answer
            answer += piece
        sidecar.say("cow")
        wait_for(lambda: sidecar.sample("predicted_class_total", class_name="cow") == 1, what="observing")
    # The connection that was open had begun unseen, and stays unobserved, which is counted.
    assert sidecar.sample("predicted_class_total", class_name="fox") == 0
    assert sidecar.sample("inference_exporter_proxy_unobserved_total", reason="failed") >= 1
    assert "the analyzer died" in sidecar.log.read_text()


def test_traffic_passes_while_the_analyzer_hangs_and_is_read_afterwards(sidecar: Running) -> None:
    os.kill(sidecar.analyzer, signal.SIGSTOP)
    for _ in range(20):
        assert sidecar.say("cat")[0] == 200
    os.kill(sidecar.analyzer, signal.SIGCONT)
    wait_for(lambda: sidecar.sample("predicted_class_total", class_name="cat") == 20, what="all of them")


def test_no_analyzer_is_left_behind(sidecar: Running) -> None:
    analyzer = sidecar.analyzer
    sidecar.child.kill()
    sidecar.child.wait()
    wait_for(lambda: not Path(f"/proc/{analyzer}/exe").exists(), what="the end of the analyzer")


def test_a_file_that_breaks_the_reading_itself_costs_nothing(sidecar: Running) -> None:
    analyzer = sidecar.analyzer
    (sidecar.log.parent / "exporter.yaml").write_text("model: {{ name }}\n")
    sidecar.child.send_signal(signal.SIGHUP)
    wait_for(lambda: sidecar.sample("inference_exporter_config_reload_success") == 0, what="the refusal")
    assert sidecar.analyzer == analyzer
    assert "was not taken over, the old configuration goes on" in sidecar.log.read_text()


def test_where_processes_are_forbidden_the_analyzer_is_a_thread(upstream: int, tmp_path: Path) -> None:
    forbidden = (
        "import subprocess\n"
        "def refuse(*_, **__): raise PermissionError(1, 'Operation not permitted')\n"
        "subprocess.Popen = refuse\n"
        "from exporter.cli.main import main; main()"
    )
    (tmp_path / "exporter.yaml").write_text("model: m\n")
    listen, admin = free_port(), free_port()
    command = [
        sys.executable, "-c", forbidden, "sidecar", "--upstream", f"http://127.0.0.1:{upstream}",
        "--listen", f"127.0.0.1:{listen}", "--admin", f"127.0.0.1:{admin}",
        "--config", str(tmp_path / "exporter.yaml"),
    ]  # fmt: skip
    with process(command, log=tmp_path / "log") as child:
        wait_for(lambda: get(admin, "/-/ready")[0] == 200, what="readiness")
        running = Running(child, listen, admin, tmp_path / "log")
        assert running.say("cat")[0] == 200
        wait_for(lambda: running.sample("predicted_class_total", class_name="cat") == 1, what="observing")
        child.send_signal(signal.SIGHUP)
        wait_for(lambda: "was read again" in running.log.read_text(), what="the reload")
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
    said = running.log.read_text()
    assert "the analyzer runs in a thread of this one" in said
    assert "Traceback" not in said


def test_unreachable_upstream_starts_and_says_why(tmp_path: Path) -> None:
    listen, admin = free_port(), free_port()
    command = cli(
        "sidecar", "--upstream", f"http://127.0.0.1:{free_port()}", "--listen", f"127.0.0.1:{listen}",
        "--admin", f"127.0.0.1:{admin}",
    )  # fmt: skip
    with process(command, log=tmp_path / "log"):
        status, why = wait_for(lambda: get(admin, "/-/ready"), what="the admin listener")
        assert status == 503
        assert "upstream not reachable" in why
        status, body = request(listen, "POST", "/predict", b"{}")
        assert status == 502
        assert "refused" in body


@pytest.mark.parametrize("which", ["listen", "admin"])
def test_port_in_use_is_one_line_and_exit_code_2(which: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"listen": free_port(), "admin": free_port(), which: taken.getsockname()[1]}
        result = subprocess.run(
            cli(
                "sidecar", "--upstream", "http://127.0.0.1:1", "--log-level", "error",
                "--listen", f"127.0.0.1:{ports['listen']}", "--admin", f"127.0.0.1:{ports['admin']}",
            ),
            capture_output=True,
            timeout=120,
            check=False,
            env={**os.environ, "PYTHONWARNINGS": ""},
        )  # fmt: skip
    key = "sidecar.listen" if which == "listen" else "admin.listen"
    assert result.returncode == 2
    assert result.stderr.decode().startswith(
        f"error: {key}: '127.0.0.1:{ports[which]}' cannot be listened on"
    )
    assert len(result.stderr.decode().splitlines()) == 1
