"""What the prompt room can be told from the outside."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from services.runtime.language_model import LanguageModelSettings
from services.runtime.settings import env


class EngineName(StrEnum):
    """What words prompts."""

    TEMPLATES = "templates"
    LANGUAGE_MODEL = "language_model"


class Settings(LanguageModelSettings):
    """`VMESH_PROMPT_*`, besides what every server that asks a language model has."""

    model_config = env("prompt")

    assets_address: str
    """Address of the asset server, which keeps tenants' own templates; `host:port` or `dns:///name:port`."""
    templates_seconds: Annotated[float, Field(gt=0, le=60)] = 1.0
    """How long the asset server may take for them before the built-in ones are offered alone."""
    embedding_seconds: Annotated[float, Field(gt=0, le=60)] = 2.0
    """How long one call to the embedding model may take before styles are detected by keywords alone."""
    engine: EngineName = EngineName.TEMPLATES
    """What words prompts; templates do it, too, where the language model's words cannot be used."""
    language_model_seconds: Annotated[float, Field(gt=0, le=60)] = 3.0
    """How long the language model may take for a prompt before templates word it."""
