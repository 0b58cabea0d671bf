"""What the usage server can be told from the outside."""

from typing import Annotated

from pydantic import Field

from services.runtime.settings import ServerSettings, env


class Settings(ServerSettings):
    """Settings of the usage server, read from `VMESH_USAGE_*`."""

    model_config = env("usage")

    router_address: str
    """Address of the router, `host:port` or `dns:///name:port`."""
    report_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """How long the router may take to hear of a rating."""
