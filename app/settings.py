"""Every setting, and the only reader of the environment. Each is `HEADRACE_<NAME>`; `headrace doctor` lists them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PACKAGED_NODE_TYPES = "headrace_nodes"


class Settings(BaseSettings):
    """Settings shared by the API, the workers and the command line. Durations are in seconds."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", extra="ignore")

    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """The Redis or Valkey server: redis://, rediss:// or unix://, with user and password."""
    prefix: str = "headrace"
    """Separates installations that share one server; part of every key."""
    redis_timeout: float = 5.0
    """Socket timeout of every call to Redis; a stopped server answers 503 after it."""
    api_url: str = "http://127.0.0.1:8765"
    """Where nodes reach the API."""
    bootstrap_key: SecretStr = SecretStr("")
    """An admin key, hr_<id>_<secret>, that the API installs at its start; empty: none."""
    host: str = "127.0.0.1"
    port: int = 8765
    allowed_hosts: str = ""
    """Further Host headers that the API answers to, comma separated; loopback and `host` always."""
    data_uri: str = "file:.headrace/data"
    """Root of what nodes write: file:PATH (s3 comes with the cluster)."""
    data_roots: str = ""
    """Further directories that file: URIs of documents may read, comma separated; data_uri's always."""
    url_allow: str = ""
    """host or host:port, comma separated: private addresses that nodes may call."""
    log_dir: Path = Path(".headrace/logs")
    """Where workers keep the logs of processes and containers, one file per launch."""
    log_uri: str = ""
    """Where the logs of Jobs go: file:PATH or s3://BUCKET/PREFIX, the same for API and workers.

    Empty: log_dir, which is refused in a pod where Jobs are made."""
    node_types: str = ""
    """Directories of node type manifests (*.json) with process commands, os.pathsep separated; the stock ones always."""
    executors: str = "process"
    """Where nodes run, comma separated, the first being the default: process, container, kubernetes."""
    image_allow: str = ""
    """Patterns of the images that nodes may name, comma separated, * for any text; empty: none."""
    archive_uri: str = ""
    """Where the history of a run goes before the run is removed: file:PATH or s3://BUCKET/PREFIX; empty: it is not kept."""
    retention: float = Field(default=30 * 24 * 3600, ge=0)
    """How long a finished run is kept where its workflow does not say."""
    pack_after: float = Field(default=120, ge=0)
    """How long after its end a small run is packed into one value: by then its nodes' last calls are answered."""
    nodes_image: str = ""
    """The image that holds the programs of the manifests on this server: their types run in it, too; empty: none."""
    kubeconfig: str = ""
    """The cluster's kubeconfig; empty: the pod's own service account, else KUBECONFIG or ~/.kube/config."""
    kubernetes_namespace: str = "headrace-jobs"
    """Where Jobs are made."""
    kubernetes_pod: str = ""
    """What every Job's pod has beside what its node type says: JSON as `kubernetes` of a node type."""
    scheduler: Literal["embedded", "cronjobs"] = "embedded"
    """Who notices that a schedule is due: the workers; or CronJobs in kubernetes_namespace, and the workers look after."""
    tick_image: str = ""
    """The image of the CronJobs' pods, any with Python; empty: nodes_image."""
    kubernetes_rate: float = Field(default=100, gt=0)
    """Jobs that one worker creates per second at most."""
    kubernetes_timeout: float = Field(default=10, gt=0)
    """Of every call to the API server."""
    kubernetes_ttl: int = Field(default=300, ge=0)
    """How long a finished Job stays after its log was archived and verified."""
    kubernetes_log_cap: float = Field(default=7 * 24 * 3600, ge=0)
    """How long a finished Job waits for its log to be archived before it is given up."""
    force_release_after: float = Field(default=0, ge=0)
    """How long a pod that should be gone may go unconfirmed (its machine is lost) before its attempt ends and gives its slots
    back; 0: the slots stay taken until the cluster confirms it."""
    container_engine: str = "unix:///var/run/docker.sock"
    """Docker or Podman: unix:///PATH of its socket, tcp://HOST:PORT, or https://HOST:PORT with certificates."""
    container_certificates: str = ""
    """A directory with ca.pem, cert.pem and key.pem for an engine behind https."""
    container_timeout: float = Field(default=10, gt=0)
    """Of every call to the engine; a pull may take longer, but not without any progress for 5 minutes."""
    container_network: str = ""
    """The network of the containers; empty: the engine's default one, which does not reach this machine's loopback."""
    container_api_url: str = ""
    """Where containers reach the API; empty: api_url."""
    container_user: str = ""
    """UID or UID:GID of containers whose node type names none; empty: the worker's own, 65532:65532 where that is root."""
    container_volumes: str = ""
    """Directories of the engine's machine that every container has: PATH, PATH:ro or SOURCE:TARGET[:ro], comma separated."""
    worker_capacity: int = Field(default=4, ge=1)
    """How many node processes, and how many containers, one worker runs at a time."""
    stop_grace: float = Field(default=10.0, ge=0)
    """How long a node that is told to stop (SIGTERM; `cancel` of the node protocol) has before it is killed."""
    service_calls: int = Field(default=100, ge=1)
    """Requests to services that one worker has under way; a call that waits for its callback or its next poll is none."""
    callback_url: str = ""
    """Where services reach the API with their callbacks; empty: api_url."""
    circuit_failures: int = Field(default=5, ge=1)
    """Failed calls of a host in a row that open its circuit."""
    circuit_pause: float = Field(default=30.0, gt=0)
    """How long a circuit stays open the first time; each further time twice as long, at most ten times this."""
    secrets_dir: str = ""
    """A directory with one file for each secret that services are called with, named like the secret."""
    secrets_allow: str = ""
    """A YAML file that says where each secret may be sent: {NAME: {hosts: [HOST, HOST:PORT, http://HOST:PORT]}}."""
    global_slots: int = Field(default=10_000, ge=1)
    """Slots of the pool `global`, until they are set over the API."""
    pool_slots: int = Field(default=10, ge=1)
    """Slots of a named pool that a workflow uses and nobody has set."""
    trigger_backlog: int = Field(default=1_000_000, ge=1)
    """Depth of the trigger stream past which triggers get 503."""
    listen: str = "redis"
    """What `headrace listener` takes events from, comma separated: redis, kafka."""
    listen_stream: str = "headrace-events"
    """The Redis stream of the listener, on the same server; what is accepted is taken out of it."""
    kafka_servers: str = ""
    """The Kafka brokers of the listener: HOST:PORT, comma separated."""
    kafka_topic: str = "events"
    """The one topic that holds all events."""
    kafka_group: str = ""
    """The consumer group; empty: the prefix of the installation."""
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How the brokers are spoken to."""
    kafka_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """Of SASL."""
    kafka_username: str = ""
    kafka_password: SecretStr = SecretStr("")
    kafka_ca: str = ""
    """A file of certificates that the brokers' are checked with; empty: the system's."""
    lease: float = 10.0
    """Claim time of a stream entry; renewed at a quarter of it."""
    max_deliveries: int = 5
    """Deliveries after which an entry is a dead letter."""
    drain: float = 10.0
    """Grace of SIGTERM: what is being committed is finished."""
    log_level: str = "info"
    log_format: str = "console"
    """console or json."""

    @field_validator("redis_url")
    @classmethod
    def _can_be_connected_to(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("redis://, rediss:// or unix:// is expected")
        return value

    @property
    def logs_at(self) -> str:
        """The URI below which the logs of Jobs are."""
        return self.log_uri or f"file:{self.log_dir}"

    @property
    def in_pod(self) -> bool:
        """Whether this process runs in a pod of a cluster: what it writes to its own disk nobody else reads."""
        return "KUBERNETES_SERVICE_HOST" in os.environ


class ClientSettings(BaseSettings):
    """What points the commands of a client at a server."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", extra="ignore")

    url: str = ""
    """The server; when empty, the `headrace dev` that serves ./.headrace."""
    api_key: SecretStr = SecretStr("")
    """The API key of every client command."""
