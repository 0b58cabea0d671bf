"""What the enhancement room can be told from the outside."""

from typing import Annotated

from pydantic import Field

from services.runtime.settings import TritonSettings, env


class Settings(TritonSettings):
    """`VMESH_ENHANCE_*`, besides what every server that calls models has."""

    model_config = env("enhance")

    running: Annotated[int, Field(ge=1, le=64)] = 2
    """Pictures worked on at one time; the upscaler has two instances."""
    waiting: Annotated[int, Field(ge=0, le=1024)] = 32
    """Pictures that wait for their turn; more are refused with RESOURCE_EXHAUSTED."""
    seconds_per_megapixel: Annotated[float, Field(gt=0)] = 1000.0
    """Longest that one pass of the model may take for a million input pixels; 30 s are always allowed."""
