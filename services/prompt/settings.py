"""What the prompt room can be told from the outside."""

from typing import Annotated

from pydantic import Field

from services.runtime.settings import TritonSettings, env


class Settings(TritonSettings):
    """`VMESH_PROMPT_*`, besides what every server has."""

    model_config = env("prompt")

    assets_address: str
    """Address of the asset server, which keeps tenants' own templates; `host:port` or `dns:///name:port`."""
    templates_seconds: Annotated[float, Field(gt=0, le=60)] = 1.0
    """How long the asset server may take for them before the built-in ones are offered alone."""
    embedding_seconds: Annotated[float, Field(gt=0, le=60)] = 2.0
    """How long one call to the embedding model may take before styles are detected by keywords alone."""
