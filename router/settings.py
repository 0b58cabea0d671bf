"""What the router can be told from the outside: `VMESH_ROUTER_*`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from services.runtime.settings import TritonSettings, env

BACKENDS_FILE = Path(__file__).with_name("backends.yaml")
WEIGHTS_FILE = Path(__file__).with_name("weights.yaml")


class Settings(TritonSettings):
    """Settings of the router."""

    model_config = env("router")

    models_address: str
    """The models server, which loads models that are not loaded and knows those that have no weights here."""
    backends_file: Path = BACKENDS_FILE
    """Which backends there are."""
    weights_file: Path = WEIGHTS_FILE
    """How the scorers weigh."""
    repository: Path | None = None
    """Where built models bring their backends from (`<model>/backend.yaml`); `model_repository` of the home if unset."""
    discovery_seconds: Annotated[float, Field(gt=0, le=3600)] = 2.0
    """Pause between two looks for built models."""
    probe_seconds: Annotated[float, Field(gt=0, le=60)] = 0.5
    """Pause between two probes of a backend."""
    probe_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 2.0
    """How long a backend may take to answer a probe."""
    probe_misses: Annotated[int, Field(ge=1, le=100)] = 3
    """After how many unanswered probes in a row a backend is unavailable; one that fails a run is so at once."""
    run_seconds: Annotated[float, Field(gt=0, le=3600)] = 600.0
    """How long one backend may take for one request, where the caller's deadline is not sooner."""
