"""What the usage server can be told from the outside."""

from services.runtime.settings import ServerSettings, env


class Settings(ServerSettings):
    """`VMESH_USAGE_*`: what every server has, and nothing besides."""

    model_config = env("usage")
