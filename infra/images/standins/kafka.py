"""Entry point of the Kafka stand-in: server.properties from KAFKA_* variables, format, run.

As upstream's /etc/kafka/docker/run: `KAFKA_NODE_ID` is `node.id`; in a name `_` is a dot, `__` an
underscore and `___` a dash. The storage is formatted once, with CLUSTER_ID or a fixed one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

HOME = Path("/opt/kafka")
DEFAULT_CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAQ"
DEFAULT_LOG_DIRS = "/tmp/kafka-logs"
EXIT_CANNOT_START = 1

NO_PROPERTIES = frozenset(
    (
        *("KAFKA_VERSION", "KAFKA_HEAP_OPTS", "KAFKA_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS"),
        *("KAFKA_LOG4J_OPTS", "KAFKA_LOG4J_ROOT_LOGLEVEL", "KAFKA_LOG4J_LOGGERS"),
        *("KAFKA_TOOLS_LOG4J_LOGLEVEL", "KAFKA_JMX_OPTS", "KAFKA_JMX_PORT", "KAFKA_JMX_HOSTNAME"),
        "KAFKA_GC_LOG_OPTS",
    )
)
"""Variables that are for the scripts around the broker (upstream's kafka-propertiesSpec.json)."""

_LOGGING = """\
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = {level}
rootLogger.appenderRef.out.ref = out
"""


def property_name(variable: str) -> str:
    """`KAFKA_LISTENER_SECURITY_PROTOCOL_MAP` is `listener.security.protocol.map`."""
    name = variable.removeprefix("KAFKA_").lower()
    return name.replace("___", "-").replace("__", "\0").replace("_", ".").replace("\0", "_")


def properties(environ: Mapping[str, str]) -> dict[str, str]:
    """The entries of server.properties that the environment asks for."""
    found = {
        property_name(variable): value
        for variable, value in sorted(environ.items())
        if variable.startswith("KAFKA_") and variable not in NO_PROPERTIES
    }
    return {"log.dirs": DEFAULT_LOG_DIRS, **found}


def java(environ: Mapping[str, str]) -> list[str]:
    """The words that start Kafka's Java, as upstream's kafka-run-class.sh puts them together."""
    heap = environ.get("KAFKA_HEAP_OPTS") or "-Xmx1G -Xms1G"
    tuning = environ.get("KAFKA_JVM_PERFORMANCE_OPTS") or "-XX:+UseG1GC"
    options = (*heap.split(), *tuning.split(), *environ.get("KAFKA_OPTS", "").split())
    logging = f"-Dlog4j2.configurationFile={HOME}/config/log4j2.properties"
    return ["java", *options, "-Djava.awt.headless=true", logging, "-cp", f"{HOME}/libs/*"]


def format_storage(command: list[str], config: Path, environ: Mapping[str, str]) -> None:
    """Once; a formatted one is left as it is. Raises SystemExit with what Kafka said."""
    cluster_id = environ.get("CLUSTER_ID") or DEFAULT_CLUSTER_ID
    tool = ("kafka.tools.StorageTool", "format", "--ignore-formatted", "-c", str(config))
    done = subprocess.run(
        [*command, *tool, f"--cluster-id={cluster_id}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.stderr.write(done.stdout)
        sys.exit(EXIT_CANNOT_START)


def main() -> None:
    """Becomes the broker."""
    config = HOME / "config" / "server.properties"
    wanted = properties(os.environ)
    if "process.roles" not in wanted:
        sys.exit("Kafka stand-in: set KAFKA_PROCESS_ROLES and what belongs to it")
    level = os.environ.get("KAFKA_LOG4J_ROOT_LOGLEVEL") or "INFO"
    try:
        config.write_text("".join(f"{name}={value}\n" for name, value in wanted.items()))
        (HOME / "config" / "log4j2.properties").write_text(_LOGGING.format(level=level))
    except OSError as error:
        sys.exit(f"Kafka stand-in: {error.filename} cannot be written ({error.strerror})")
    command = java(os.environ)
    format_storage(command, config, os.environ)
    os.execvp(command[0], [*command, "kafka.Kafka", str(config)])


if __name__ == "__main__":
    main()
