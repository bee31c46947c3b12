"""Week 4's topology: two replicas behind nginx, PostgreSQL, Valkey, Kafka, the click path."""

from __future__ import annotations

from collections.abc import Mapping

from infra.lab.servers.kafka import Kafka
from infra.lab.servers.nginx import Nginx
from infra.lab.servers.postgres import Postgres
from infra.lab.servers.python import PythonProcess
from infra.lab.servers.valkey import Valkey
from infra.lab.site import HOST, Site
from infra.lab.topology import Topology

PREFIX = "SHORTENER_"
CODE_KEY = "shortener_code_key"
PASSWORD = "shortener_password"

postgres = Postgres(
    name="postgres",
    port=1,
    database="shortener",
    password_secret=PASSWORD,
    settings={"shared_buffers": "64MB", "max_connections": "60"},
)
valkey = Valkey(
    name="valkey", port=2, settings={"maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"}
)
kafka = Kafka(name="kafka", port=3, controller_port=4)


def settings(site: Site, replica: str) -> Mapping[str, str]:
    """Environment of one of the week's own processes."""
    return {
        "SHORTENER_DATABASE_URL": postgres.dsn(site),
        "SHORTENER_VALKEY_URL": f"redis://{site.address('valkey')}/0",
        "SHORTENER_KAFKA_BOOTSTRAP": site.address("kafka"),
        "SHORTENER_CLICK_LOG_DIR": str(site.data_dir("clicks") / replica),
        "SHORTENER_PUBLIC_BASE_URL": site.url("nginx"),
        "SHORTENER_CODE_KEY": site.secrets[CODE_KEY],
        "SHORTENER_REPLICA": replica,
        "SHORTENER_ADMIN_HOST": HOST,
    }


def worker(name: str, command: str, port: int, replica: str = "") -> PythonProcess:
    """A process of the week that is no HTTP service; it answers health and metrics."""
    return PythonProcess(
        name=name,
        port=port,
        needs=("setup",),
        arguments=lambda site: ("-m", "week04_shortener", command),
        environment=lambda site: {
            **settings(site, replica or name),
            "SHORTENER_ADMIN_PORT": str(site.ports[name]),
        },
        settings_prefix=PREFIX,
    )


def replica(name: str, port: int) -> PythonProcess:
    """One API replica under uvicorn."""
    app = "week04_shortener.__main__:create_app"
    return PythonProcess(
        name=name,
        port=port,
        needs=("setup", "valkey"),
        arguments=lambda site: (
            *("-m", "uvicorn", "--factory", app, "--no-access-log"),
            *("--host", HOST, "--port", str(site.ports[name])),
        ),
        environment=lambda site: settings(site, name),
        settings_prefix=PREFIX,
    )


topology = Topology(
    week="week04",
    title="URL shortener: cache-aside, single flight, click log to Kafka, analytics",
    base_port=8400,
    secrets=(CODE_KEY,),
    servers=(
        Nginx(
            name="nginx",
            port=0,
            needs=("api1", "api2"),
            config="week04_shortener/config/nginx/shortener.conf",
            upstreams={"shortener_api": ("api1", "api2")},
            probe_path="/health/live",
        ),
        replica("api1", 5),
        replica("api2", 6),
        worker("forwarder1", "forwarder", 7, replica="api1"),
        worker("forwarder2", "forwarder", 8, replica="api2"),
        worker("consumer", "consumer", 9),
        PythonProcess(
            name="setup",
            needs=("postgres", "kafka"),
            one_shot=True,
            arguments=lambda site: ("-m", "week04_shortener", "setup"),
            environment=lambda site: settings(site, "setup"),
            settings_prefix=PREFIX,
        ),
        postgres,
        valkey,
        kafka,
    ),
)
