"""`python3 -m infra.service.healthcheck PORT PATH`: asks a service of this host whether it is well.

For containers' health checks, which run it every few seconds: one request over a plain socket, and
nothing imported that takes long. Ends with 0 when the answer is a 200, else with 1 and a line.
"""

import socket
import sys

TIMEOUT_S = 3.0
STATUS_LINE_MAX_BYTES = 1024


def status_line(port: int, path: str) -> bytes:
    """The first line of the answer to `GET path` on 127.0.0.1. Raises OSError for none."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.sendall(request.encode("ascii"))
        answer = b""
        while b"\r\n" not in answer and len(answer) < STATUS_LINE_MAX_BYTES:
            more = connection.recv(STATUS_LINE_MAX_BYTES)
            if not more:
                raise ConnectionError("it hung up")
            answer += more
    return answer.partition(b"\r\n")[0]


def main(words: list[str]) -> int:
    """Exit status: 0 well, 1 not well, 2 for a command line that cannot be followed."""
    if len(words) != 2 or not words[0].isdecimal() or not words[1].startswith("/"):
        sys.stderr.write("healthcheck: give it a port and a path: 8405 /health/ready\n")
        return 2
    try:
        line = status_line(int(words[0]), words[1])
    except (OSError, OverflowError, UnicodeEncodeError) as error:
        sys.stderr.write(f"healthcheck: no answer: {error}\n")
        return 1
    if line.split(b" ")[1:2] == [b"200"]:
        return 0
    sys.stderr.write(f"healthcheck: {line.decode(errors='replace')}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
