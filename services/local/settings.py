"""What the one-machine mesh can be told from the outside."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic_settings import BaseSettings

from scrollintel.visual.client import ADDRESS
from services.runtime.settings import default_home, env

GATEWAY = "gateway"
ANYWHERE = "127.0.0.1:0"


class LocalSettings(BaseSettings):
    """Settings of the composition, read from `VMESH_LOCAL_*`; each server still reads its own."""

    model_config = env("local")

    home: Annotated[Path, Field(default_factory=default_home, validation_alias="VMESH_HOME")]
    """Folder for everything that is kept: models, which are brought up to date first, media, logs."""
    listen: str = ADDRESS
    """Where the gateway listens; a port that is taken is replaced by a free one, and port 0 takes a free one."""
    advertise: bool = True
    """Whether to say in `mesh.json` where the mesh is, so that the command line finds it."""
    triton_seconds: Annotated[float, Field(gt=0, le=600)] = 60.0
    """How long Triton may take to load its models."""
    triton_grace: Annotated[float, Field(ge=0, le=60)] = 2.0
    """How long Triton's own requests may finish at the end, after every server has ended."""
    server_seconds: Annotated[float, Field(gt=0, le=600)] = 60.0
    """How long one server may take to start."""
    servers: Mapping[str, Mapping[str, Any]] = {}
    """Settings of single servers, by the server's name, over those from the environment."""
