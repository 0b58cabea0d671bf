"""What the orchestrator can be told from the outside."""

from typing import Annotated

from pydantic import Field

from services.runtime.settings import ServerSettings, env

Seconds = Annotated[float, Field(gt=0, le=3600)]


class Settings(ServerSettings):
    """Settings of the orchestrator, read from `VMESH_ORCHESTRATOR_*`."""

    model_config = env("orchestrator")

    prompt_address: str
    """Address of the prompt server, `host:port` or `dns:///name:port`; so for every address."""
    safety_address: str
    """Address of the safety server."""
    router_address: str
    """Address of the router."""
    enhance_address: str
    """Address of the enhance server."""
    quality_address: str
    """Address of the quality server."""
    assets_address: str
    """Address of the assets server."""

    running: Annotated[int, Field(ge=1, le=1024)] = 8
    """Generations worked on at one time. Models draw for several in shared calls, fairly: as many large ones hold up
    those that wait, and each must still end within `generation_seconds`."""
    waiting: Annotated[int, Field(ge=0, le=65536)] = 64
    """Generations that wait for their turn; more are refused with RESOURCE_EXHAUSTED."""
    expected_seconds: Seconds = 5.0
    """How long a generation is expected to take before any was measured."""
    generation_seconds: Seconds = 120.0
    """How long a generation may take once its turn has come."""
    enhancement_seconds: Seconds = 600.0
    """The same for an enhancement, which on a CPU takes minutes where a large picture is deblurred."""
    kept: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """Generations that are remembered; the oldest finished ones are forgotten first."""

    check_seconds: Seconds = 15.0
    """How long one safety check may take."""
    prompt_seconds: Seconds = 15.0
    """How long rewriting a prompt may take."""
    route_seconds: Seconds = 15.0
    """How long ranking the backends may take."""
    enhance_seconds: Seconds = 580.0
    """How long one picture's restoration may take."""
    score_seconds: Seconds = 20.0
    """How long scoring one picture may take."""
    seal_seconds: Seconds = 30.0
    """How long marking and signing one picture may take."""
    store_seconds: Seconds = 15.0
    """How long recording one asset may take."""
