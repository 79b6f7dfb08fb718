"""Print every alert that Alertmanager sends: the place of your own receiver."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver(BaseHTTPRequestHandler):
    """Take a POST and print its alerts; answer a GET, for the health check."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        for alert in body.get("alerts", []):
            labels, notes = alert.get("labels", {}), alert.get("annotations", {})
            print(
                alert.get("status", "?").upper(),
                labels.get("alertname", "?"),
                notes.get("summary", ""),
                notes.get("runbook_url", ""),
                sep="  ",
                flush=True,
            )
        self.do_GET()

    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print alerts only."""


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8081
    ThreadingHTTPServer(("0.0.0.0", port), Receiver).serve_forever()  # noqa: S104 - inside its container
