"""Where the server listens, and its command line."""

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """Where the server listens on loopback."""

    grpc: int
    http: int
    metrics: int


def free_ports() -> Ports:
    """Three different ports that were free a moment ago."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return Ports(*(one.getsockname()[1] for one in sockets))


def build_command(
    binary: Path,
    backends: Path,
    repository: Path,
    models: Sequence[str],
    ports: Ports,
    server_id: str,
    shm_prefix: str,
    exit_timeout_s: int,
) -> list[str]:
    """The tritonserver command. Loopback only: whoever reaches the load API can run code."""
    return [
        str(binary),
        f"--id={server_id}",
        f"--backend-directory={backends}",
        f"--model-repository={repository}",
        "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in models),
        # Without this each Python model is started twice, once only to be asked for its configuration.
        "--disable-auto-complete-config",
        "--model-load-thread-count=8",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
        f"--exit-timeout-secs={exit_timeout_s}",
        "--allow-gpu-metrics=false",
        *(f"--{protocol}-address={LOOPBACK}" for protocol in ("grpc", "http", "metrics")),
        f"--grpc-port={ports.grpc}",
        f"--http-port={ports.http}",
        f"--metrics-port={ports.metrics}",
    ]
