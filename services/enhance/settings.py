"""What the enhancement room can be told from the outside."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from services.runtime.settings import TritonSettings, env


class Settings(TritonSettings):
    """`VMESH_ENHANCE_*`, besides what every server that calls models has."""

    model_config = env("enhance")

    models_address: str
    """Address of the models server, which brings models into memory."""
    running: Annotated[int, Field(ge=1, le=64)] = 4
    """Pictures worked on at one time. The upscaler lets them take turns, so three large ones hold up no small one; each
    takes up to 0.4 GB here, a result of 8192 × 8192 and what it is made from."""
    waiting: Annotated[int, Field(ge=0, le=1024)] = 32
    """Pictures that wait for their turn; more are refused with RESOURCE_EXHAUSTED."""
    seconds_per_megapixel: Annotated[float, Field(gt=0)] = 2000.0
    """Longest that one pass of a model may take for a million input pixels; 30 s are always allowed, and ten minutes to
    wait for a model that takes one picture at a time."""
    load_seconds: Annotated[float, Field(gt=0, le=600)] = 60.0
    """Longest to wait for a model that has to be loaded."""
    face_restorers: Annotated[tuple[str, ...], NoDecode, Field(min_length=1)] = (
        "face_restoration_gfpgan",
        "face_restoration_codeformer",
    )
    """Models that restore faces, the preferred first, parted by commas; the first that is built does it."""

    @field_validator("face_restorers", mode="before")
    @classmethod
    def _parted(cls, names: object) -> object:
        return (
            [name.strip() for name in names.split(",") if name.strip()] if isinstance(names, str) else names
        )
