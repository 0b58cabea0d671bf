"""Which language model a server asks."""

from typing import Annotated

from pydantic import Field, SecretStr

from services.runtime.settings import TritonSettings

NO_KEY = SecretStr("")


class LanguageModelSettings(TritonSettings):
    """Settings of a server that asks a language model; the same names for every such server."""

    models_address: str = ""
    """Address of the models server, which brings the mesh's own model into memory; empty asks Triton and nobody else."""
    language_model_url: Annotated[
        str, Field(validation_alias="VMESH_LANGUAGE_MODEL_URL", pattern=r"^(https?://\S+)?$")
    ] = ""
    """Where an endpoint that speaks OpenAI's HTTP answers, such as `https://api.openai.com/v1`; empty is the mesh's own
    model on Triton. What is asked leaves the mesh, so it is for whoever runs it to choose."""
    language_model_name: Annotated[
        str, Field(validation_alias="VMESH_LANGUAGE_MODEL_NAME", max_length=200)
    ] = ""
    """Name of the model at that endpoint."""
    language_model_api_key: Annotated[SecretStr, Field(validation_alias="VMESH_LANGUAGE_MODEL_API_KEY")] = (
        NO_KEY
    )
    """Key for that endpoint; empty sends none."""
