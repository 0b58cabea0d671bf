"""What the safety room can be told from the outside."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from services.runtime.language_model import LanguageModelSettings
from services.runtime.settings import env


class Settings(LanguageModelSettings):
    """`VMESH_SAFETY_*`, besides what every server has."""

    model_config = env("safety")

    policy: Path | None = None
    """A policy instead of the one that is shipped (services/safety/policy.yaml says how it is written)."""
    policy_seconds: Annotated[float, Field(gt=0, le=3600)] = 2.0
    """How often the policy file is looked at; a change holds from the next look on, if nothing is wrong in it."""
    rules: Path | None = None
    """A rule set instead of the one that is shipped (services/safety/rules.yaml)."""
    prompt_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """How long checking one prompt may take before it counts as not checked."""
    prompts: Annotated[int, Field(ge=1, le=64)] = 4
    """Prompts checked at one time, each in a thread."""
    prompts_waiting: Annotated[int, Field(ge=0, le=1024)] = 128
    """Prompts that wait for their turn; more are refused with RESOURCE_EXHAUSTED."""
    exemplars: bool = False
    """Whether prompts that the rules do not refuse are compared with exemplars, too, by Triton's `text_embedding`."""
    exemplars_seconds: Annotated[float, Field(gt=0, le=60)] = 2.0
    """How long one call to that model may take before the prompt counts as not checked."""
    picture_seconds: Annotated[float, Field(gt=0, le=600)] = 12.0
    """How long reading one picture and checking it may take altogether; the orchestrator waits for 15."""
    language_model: bool = False
    """Whether prompts that nothing else refuses are labelled by the language model, too (`VMESH_LANGUAGE_MODEL_URL`)."""
    language_model_seconds: Annotated[float, Field(gt=0, le=60)] = 3.0
    """How long one question to it may take before the prompt counts as not checked; `prompt_seconds` limits them all."""
    nsfw_seconds: Annotated[float, Field(gt=0, le=120)] = 10.0
    """How long the picture model may take before the picture counts as not checked."""
    violence_seconds: Annotated[float, Field(gt=0, le=120)] = 10.0
    """How long an operator's classifier of violence may take, where there is one."""
    writing_seconds: Annotated[float, Field(gt=0, le=120)] = 10.0
    """How long finding and reading the text in one picture may take before the picture counts as not checked."""
    works_seconds: Annotated[float, Field(gt=0, le=120)] = 10.0
    """How long holding one picture against the protected works may take before it counts as not checked."""
    works_fresh_seconds: Annotated[float, Field(ge=0, le=3600)] = 2.0
    """How old a replica's copy of the protected works may be: what another replica registers holds here from then on."""
    works_at_once: Annotated[int, Field(ge=1, le=64)] = 2
    """Works registered at one time; each may take 0.5 GB."""
    works_waiting: Annotated[int, Field(ge=0, le=1024)] = 64
    """Works that wait to be registered; more are refused with RESOURCE_EXHAUSTED."""
    database_url: str = ""
    """SQLAlchemy URL of the registry of protected works; empty is SQLite under `home`."""
    pictures: Annotated[int, Field(ge=1, le=64)] = 4
    """Pictures decoded at one time; each may take 0.5 GB."""
    pictures_waiting: Annotated[int, Field(ge=0, le=1024)] = 64
    """Pictures that wait for their turn; more are refused with RESOURCE_EXHAUSTED."""
    videos: Annotated[int, Field(ge=1, le=16)] = 1
    """Videos checked at one time."""
    videos_waiting: Annotated[int, Field(ge=0, le=256)] = 8
    """Videos that wait for their turn; more are refused with RESOURCE_EXHAUSTED."""
    video_seconds: Annotated[float, Field(gt=0, le=3600)] = 600.0
    """How long checking one video may take before it counts as not checked."""
    frames_at_once: Annotated[int, Field(ge=1, le=16)] = 2
    """Frames of one video that are shown to the checks at one time; two more are held, and the rest wait at the caller."""
    frames_every: Annotated[int, Field(ge=1, le=240)] = 12
    """One in so many frames is shown to the checks at least."""
    frames_seconds: Annotated[float, Field(gt=0, le=10)] = 0.5
    """And the first that is shown so much later than the last, where frames say when they are shown."""
    idle_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    """How long a stream of frames may stay silent between two messages."""
    trickle_seconds: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """How long a stream of frames may keep the server waiting for its messages altogether."""
    c2pa_chain: Path | None = None
    """The certificates that manifests are signed with, the signer's first, in PEM; None makes one for development."""
    c2pa_key: Path | None = None
    """The signer's key: PKCS 8 in PEM, without a passphrase. Given with `c2pa_chain` or not at all."""
    watermark_key: Path | None = None
    """A file of any content, the secret that watermarks are made and found with; None makes one under `home`."""
    seal_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    """How long sealing or verifying one picture may take."""
    seals: Annotated[int, Field(ge=1, le=64)] = 2
    """Pictures sealed at one time, and as many verified, each in a thread; one of 67 megapixels takes about 1 GB."""
    seals_waiting: Annotated[int, Field(ge=0, le=1024)] = 64
    """Pictures that wait to be sealed, and as many to be verified; more are refused with RESOURCE_EXHAUSTED."""
    sealed_video_seconds: Annotated[float, Field(gt=0, le=3600)] = 300.0
    """How long sealing or verifying one video may take, which runs in a process of its own at low priority."""
    sealed_videos: Annotated[int, Field(ge=1, le=16)] = 1
    """Videos sealed or verified at one time, each in a process of its own."""
    sealed_videos_waiting: Annotated[int, Field(ge=0, le=256)] = 8
    """Videos that wait for their turn; more are refused with RESOURCE_EXHAUSTED."""

    @property
    def tables_url(self) -> str:
        """Where the registry is."""
        return self.database_url or f"sqlite:///{self.home / 'safety.sqlite'}"
