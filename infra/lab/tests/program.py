"""The sample week's own processes: `program.py web PORT`, `program.py task FILE`.

Standard library only. The environment makes them misbehave: EXIT_SAYING=words (dies at once with
them as its last line), UNREADY=1 (answers 503 for ever), DEAF=1 (ignores SIGTERM), CHILD=1 (has a
child in its group), SLOW_S=1.5 (starts to listen only then).
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


class _Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """200 with our pid, 503 as problem+json while unready."""
        unready = "UNREADY" in os.environ and self.path == "/health/ready"
        answer = {"detail": "waits for Godot"} if unready else {"pid": os.getpid()}
        body = json.dumps(answer).encode()
        self.send_response(503 if unready else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Be the process that the arguments name."""
    kind, argument = sys.argv[1:]
    if "EXIT_SAYING" in os.environ:
        sys.exit(os.environ["EXIT_SAYING"])
    if "DEAF" in os.environ:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "CHILD" in os.environ:
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    time.sleep(float(os.environ.get("SLOW_S", "0")))
    if kind == "task":
        with Path(argument).open("a") as file:
            file.write("ran\n")
        return
    http.server.ThreadingHTTPServer(("127.0.0.1", int(argument)), _Web).serve_forever()


if __name__ == "__main__":
    main()
