"""Reads `providers.yaml`: the models of paid providers, what they cost, and when they end."""

from collections.abc import Collection, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Self, cast
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from router.configuration import Fault, Strict, load
from router.demand import FPS, Modality, Tier
from router.entries import UNKNOWN, BackendEntry, PaidKind
from router.settings import ProviderSettings
from router.snapshot import State

# What is said of no paid model: it has no steps to choose, and counts as one.
ONE_STEP: Mapping[str, Any] = {
    "defaults": {"steps": 1, "guidance_scale": 0},
    "tiers": dict.fromkeys(Tier, 1),
}
TAKEN = "taken"
SHARED = ("kind", "address", "concurrency", "queue")


class ProviderEntry(Strict):
    """A provider and its models. `needs` names the settings without which it is not configured.

    `address` is where its API is, where no setting says otherwise. `concurrency` and `queue` hold for each model.
    """

    kind: PaidKind
    needs: Annotated[tuple[str, ...], Field(min_length=1)]
    address: str
    concurrency: Annotated[int, Field(ge=1, le=1024)]
    queue: Annotated[int, Field(ge=0, le=10_000)]
    models: tuple[BackendEntry, ...]

    @field_validator("needs")
    @classmethod
    def _are_settings(cls, needs: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(needs) - set(ProviderSettings.model_fields)):
            raise ValueError(f"no setting is called {', '.join(unknown)}")
        return needs

    @field_validator("address")
    @classmethod
    def _is_address(cls, address: str) -> str:
        if address and (not is_address(address) or "@" in address):
            raise ValueError("must be an http or https address, without a key in it")
        return address

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, content: Any) -> Any:
        """Give every model what its provider says of all of them, so that each is an entry of its own."""
        if not isinstance(content, dict) or not isinstance(content.get("models"), list):
            return content
        return content | {"models": [_whole(content, model) for model in content["models"]]}


class _Document(Strict):
    providers: tuple[ProviderEntry, ...]

    @model_validator(mode="after")
    def _unique(self, info: ValidationInfo) -> Self:
        taken = set(cast("dict[str, Collection[str]]", info.context or {}).get(TAKEN, ()))
        for i, provider in enumerate(self.providers):
            for j, entry in enumerate(provider.models):
                if entry.name in taken:
                    at = ("providers", i, "models", j, "model")
                    raise Fault(f"there is a backend {entry.name} already", at)
                taken.add(entry.name)
        return self


def read_providers(path: Path, taken: Collection[str] = ()) -> tuple[ProviderEntry, ...]:
    """Return the providers of a file, in its order. Raises ConfigurationError, also for a name that is `taken`."""
    return load(path, _Document, **{TAKEN: taken}).providers


def load_providers(path: Path, taken: Collection[str] = ()) -> tuple[BackendEntry, ...]:
    """Return the models of all providers of a file as backends, by name.

    Raises ConfigurationError, also for a name that is `taken` by a backend of another file.
    """
    entries = (entry for provider in read_providers(path, taken) for entry in provider.models)
    return tuple(sorted(entries, key=lambda entry: entry.name))


def missing(provider: ProviderEntry, settings: ProviderSettings) -> list[str]:
    """Return the variables of the environment that the provider needs and that are not set."""
    return [variable(name) for name in provider.needs if not _told(getattr(settings, name))]


def variable(setting: str) -> str:
    """Return the variable of the environment that a setting is read from."""
    return f"{ProviderSettings.model_config['env_prefix']}{setting.upper()}"


def is_address(url: str) -> bool:
    """Return whether a URL names a machine that is spoken to by http or https."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def standing(entry: BackendEntry, configured: bool, today: date) -> State:
    """Return whether a paid model may be called: RETIRED, NOT_CONFIGURED without its key or price, else READY."""
    if entry.retires is not None and today >= entry.retires:
        return State.RETIRED
    return State.READY if configured and entry.pricing().known else State.NOT_CONFIGURED


def _told(value: str | SecretStr) -> bool:
    return bool(value.get_secret_value() if isinstance(value, SecretStr) else value)


def _whole(provider: dict[str, Any], model: Any) -> Any:
    """Return what a file says of a model, with what goes without saying."""
    if not isinstance(model, dict):
        return model
    shared = {name: provider[name] for name in SHARED if name in provider}
    whole = {**ONE_STEP, **shared, "name": f"{provider.get('kind')}/{model.get('model')}", **model}
    whole.setdefault("remedy", _remedy(provider.get("needs"), model.get("price")))
    if isinstance(whole.get("limits"), dict):
        whole["limits"] = {"steps": 1, **whole["limits"]}
    if isinstance(prior := whole.get("prior"), dict) and isinstance(
        seconds := prior.get("seconds"), int | float
    ):
        frames = FPS if whole.get("modality") == Modality.VIDEO else 1
        whole["prior"] = {"quality": prior.get("quality"), "seconds_per_step": seconds / frames}
    return whole


def _remedy(needs: object, price: object) -> str:
    variables = [variable(str(name)) for name in needs] if isinstance(needs, Iterable) else []
    told = f"set {' and '.join(variables)}"
    own_file = variable("providers_file")
    return f"{told}, and say what it costs in a file of your own ({own_file})" if price == UNKNOWN else told
