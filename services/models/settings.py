"""What the model server can be told from the outside."""

from services.runtime.settings import TritonSettings, env


class Settings(TritonSettings):
    """`VMESH_MODELS_*`: what every server that calls models has, and nothing besides."""

    model_config = env("models")
