"""What the model server can be told from the outside."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from services.runtime.settings import TritonSettings, env

Seconds = Annotated[float, Field(gt=0, le=3600)]


class Settings(TritonSettings):
    """`VMESH_MODELS_*`: what every server that calls models has, and how models come into memory and leave it."""

    model_config = env("models")

    allow_noncommercial: Annotated[frozenset[str], NoDecode] = frozenset()
    """Models that may be built although their licence forbids commercial use: their names, parted by commas."""
    manage: bool = True
    """Whether models are loaded and unloaded from here; else Triton alone decides (`--model-control-mode=none`)."""
    memory_mib: Annotated[int, Field(ge=1)] | None = None
    """Memory that models may hold together; unset is a share of a GPU's memory, or of this machine's or container's."""
    triton_pid_file: Path | None = None
    """File with the id of Triton's process, when that is on this machine: to measure it and, if need be, to recycle it."""
    load_seconds: Seconds = 600.0
    """How long a model may take to load and to answer its warm-up."""
    unload_seconds: Seconds = 30.0
    """How long a model's processes may take to end; after that the server process is recycled."""
    drain_seconds: Seconds = 30.0
    """How long the work on a model may go on that is to be unloaded, or on all of them before the server is recycled."""
    restart_seconds: Seconds = 60.0
    """How long Triton may be away before loading anything fails."""
    poll_seconds: Seconds = 2.0
    """How often the books are compared with what Triton has loaded."""
    growth_mib: Annotated[int, Field(ge=0)] = 2048
    """Memory that the server process itself may gain before it is recycled."""

    @field_validator("allow_noncommercial", mode="before")
    @classmethod
    def _parted(cls, names: object) -> object:
        return (
            [name.strip() for name in names.split(",") if name.strip()] if isinstance(names, str) else names
        )
