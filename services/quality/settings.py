"""What the quality room can be told from the outside."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from services.runtime.settings import TritonSettings, env


class Settings(TritonSettings):
    """`VMESH_QUALITY_*`, besides what every server that calls models has."""

    model_config = env("quality")

    threads: Annotated[int, Field(ge=1, le=64)] = 2
    """Pictures measured at one time."""
    waiting: Annotated[int, Field(ge=0, le=1024)] = 64
    """Pictures that wait for their turn; more are refused with RESOURCE_EXHAUSTED."""
    videos: Annotated[int, Field(ge=1, le=16)] = 1
    """Videos scored at one time; their frames share the threads with the pictures."""
    videos_waiting: Annotated[int, Field(ge=0, le=256)] = 8
    """Videos that wait for their turn; more are refused with RESOURCE_EXHAUSTED."""
    idle_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    """How long a stream of frames may stay silent between two messages."""
    trickle_seconds: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """How long a stream of frames may keep the server waiting for its messages altogether."""
    database_url: str = ""
    """SQLAlchemy URL of what is remembered of earlier pictures and of models; empty is SQLite under `home`."""
    calibration: Path | None = None
    """The matcher's `calibration.json`; unset is the one in the repository that `vmesh models build` made."""

    @property
    def tables_url(self) -> str:
        """Where the tables are."""
        return self.database_url or f"sqlite:///{self.home / 'quality.sqlite'}"

    @property
    def calibration_path(self) -> Path:
        """Where the calibration is."""
        return (
            self.calibration
            or self.home / "model_repository" / "image_text_matcher" / "1" / "calibration.json"
        )
