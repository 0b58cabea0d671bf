"""What the gateway can be told from the outside."""

from typing import Annotated

from pydantic import Field

from services.runtime.settings import ServerSettings, env


class Settings(ServerSettings):
    """Settings of the gateway, read from `VMESH_GATEWAY_*`."""

    model_config = env("gateway")

    orchestrator_address: str
    """Address of the orchestrator, `host:port` or `dns:///name:port`; so for every address."""
    prompt_address: str
    """Address of the prompt server."""
    router_address: str
    """Address of the router."""
    models_address: str
    """Address of the models server."""
    assets_address: str
    """Address of the assets server."""
    usage_address: str
    """Address of the usage server."""
    quality_address: str
    """Address of the quality server."""
    safety_address: str
    """Address of the safety server."""

    trust_tenant: bool = False
    """Whether to believe the caller's `x-vmesh-tenant`: only where something in front of the gateway has set it."""
    tenant_calls: Annotated[int, Field(ge=1, le=100_000)] = 128
    """Calls that one tenant may have in progress; more are refused with RESOURCE_EXHAUSTED."""
