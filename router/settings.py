"""What the router can be told from the outside: `VMESH_ROUTER_*`."""

import socket
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.runtime.settings import TritonSettings, env

HERE = Path(__file__).parent
BACKENDS_FILE = HERE / "backends.yaml"
PROVIDERS_FILE = HERE / "providers.yaml"
WEIGHTS_FILE = HERE / "weights.yaml"
TENANTS_FILE = HERE / "tenants.yaml"
EXPERIMENTS_FILE = HERE / "experiments.yaml"

NO_KEY = SecretStr("")


class ProviderSettings(BaseSettings):
    """What outside providers need. A provider without its key is listed and never called; an empty URL is its own."""

    model_config = SettingsConfigDict(**{**env("router"), "extra": "ignore"})

    providers_file: Path = PROVIDERS_FILE
    """Which models providers offer, what they cost, and when they end."""
    openai_api_key: SecretStr = NO_KEY
    """Key of OpenAI."""
    openai_url: str = ""
    """Another address of OpenAI's API, such as a proxy's."""
    runway_api_key: SecretStr = NO_KEY
    """Key of Runway."""
    runway_url: str = ""
    """Another address of Runway's API."""
    pika_api_key: SecretStr = NO_KEY
    """Key of fal, which serves Pika's models."""
    pika_url: str = ""
    """Another address of fal's queue."""
    midjourney_api_key: SecretStr = NO_KEY
    """Key of the operator's own bridge to Midjourney."""
    midjourney_url: str = ""
    """Address of that bridge; without one Midjourney is off."""


class Settings(ProviderSettings, TritonSettings):
    """Settings of the router."""

    model_config = env("router")

    models_address: str
    """The models server, which loads models that are not loaded and knows those that have no weights here."""
    quality_address: str
    """The quality server, which scores what shadow arms of experiments draw."""
    backends_file: Path = BACKENDS_FILE
    """Which backends there are, besides the providers'."""
    weights_file: Path = WEIGHTS_FILE
    """How the scorers weigh, and how much may be tried out."""
    tenants_file: Path = TENANTS_FILE
    """Which backends which tenant may use."""
    experiments_file: Path = EXPERIMENTS_FILE
    """Experiments that run from the start."""
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
    database_url: str = ""
    """SQLAlchemy URL of what is learned and of the ledger of paid calls; empty is SQLite under `home`."""
    replica: Annotated[str, Field(min_length=1, max_length=64, default_factory=socket.gethostname)]
    """Names this router among its replicas; two that share a database never share a name."""
    merge_seconds: Annotated[float, Field(gt=0, le=3600)] = 2.0
    """Pause between two looks for what other replicas have learned."""
    shadow_usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """What shadow arms of experiments may spend at providers a day (UTC), in US dollars."""
    experiment_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    """Pause between two looks at the results of running experiments."""

    @property
    def tables_url(self) -> str:
        """Where the tables are."""
        return self.database_url or f"sqlite:///{self.home / 'router.sqlite'}"
