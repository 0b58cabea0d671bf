"""What every server can be told from the outside. The only reader of the environment, with the servers' own settings."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def env(name: str) -> SettingsConfigDict:
    """Return the configuration of a server's settings: frozen, read from `VMESH_<NAME>_*`, unknown fields refused."""
    return SettingsConfigDict(
        env_prefix=f"VMESH_{name.upper()}_", frozen=True, extra="forbid", populate_by_name=True
    )


def default_home() -> Path:
    """Return where the mesh keeps its files unless told otherwise."""
    return Path.home() / ".visual-mesh"


class ServerSettings(BaseSettings):
    """Settings that every server has; each server adds its own and sets `model_config = env("<name>")`."""

    listen: str = "127.0.0.1:0"
    """Address to bind, host and port; port 0 takes a free one."""
    home: Annotated[Path, Field(default_factory=default_home, validation_alias="VMESH_HOME")]
    """Folder for everything that is kept; `VMESH_HOME`, shared by all servers of a machine."""
    blob_url: Annotated[str, Field(validation_alias="VMESH_BLOB_URL")] = ""
    """Where media lies: an obstore URL such as `s3://bucket/prefix`; empty is a folder under `home`."""
    grace_seconds: Annotated[float, Field(ge=0, le=600)] = 10.0
    """How long running calls may finish after the first SIGTERM."""
    max_concurrent_rpcs: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Calls worked on at one time; more are refused with RESOURCE_EXHAUSTED."""
    otlp_endpoint: Annotated[str, Field(validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")] = ""
    """Where traces go (gRPC); empty sends none. Metrics are fetched: see `metrics_port`."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port of Prometheus' `/metrics`; 0 serves none."""
    trace_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of new traces that are recorded; a caller's decision is followed."""


class TritonSettings(ServerSettings):
    """Settings of a server that calls models."""

    triton_address: Annotated[str, Field(validation_alias="VMESH_TRITON_ADDRESS")] = "127.0.0.1:8001"
    """Triton's gRPC address."""
