"""What the asset room can be told from the outside."""

from typing import Annotated

from pydantic import Field

from services.runtime.settings import ServerSettings, env


class Settings(ServerSettings):
    """`VMESH_ASSETS_*`, besides what every server has."""

    model_config = env("assets")

    database_url: str = ""
    """SQLAlchemy URL of the records and templates; empty is SQLite under `home`."""
    uploads: Annotated[int, Field(ge=1, le=64)] = 2
    """Uploads taken at one time; each may hold a file of 64 MiB and its decoded picture of 200 MB in memory."""
    uploads_waiting: Annotated[int, Field(ge=0, le=1024)] = 16
    """Uploads that wait for their turn; more are refused with RESOURCE_EXHAUSTED."""
    idle_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    """How long an upload may stay silent between two messages."""

    unrecorded_hours: Annotated[float, Field(gt=0, le=8760)] = 24.0
    """How long bytes that no asset names are kept; a generation takes minutes at most."""

    templates: Annotated[int, Field(ge=1, le=1000)] = 200
    """Templates of its own that each tenant may keep."""

    @property
    def tables_url(self) -> str:
        """Where the tables are."""
        return self.database_url or f"sqlite:///{self.home / 'assets.sqlite'}"
