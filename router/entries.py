"""Reads `backends.yaml`: which backends there are, what each can do, and what is known of it before it ever ran."""

import math
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from router.configuration import Fault, Location, Strict, load
from router.demand import Modality, Tier
from router.price import Price, Tokens, Unit
from router.sizes import Size

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+/[a-z0-9][a-z0-9._-]{0,63}$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
MOST_IMAGES: Mapping[str, int] = {"runway": 1, "pika": 1, "midjourney": 4}
"""Pictures or videos that one paid call makes, where the provider has no word for their number."""
OURS = frozenset({"model", "prompt", "n", "size", "quality", "duration", "ratio", "resolution"})
"""Words of a call that say what is bought: an entry's `request` may not say another thing than what was priced."""


def _no_truth(value: object) -> object:
    """Refuse yes and no, which would be 1 and 0: a price of `no` would be none."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not yes or no")
    return value


Finite = Annotated[float, BeforeValidator(_no_truth), Field(allow_inf_nan=False)]
Usd = Annotated[Finite, Field(ge=0)]
PaidKind = Literal["openai", "runway", "pika", "midjourney"]
Kind = Literal["triton", PaidKind]
OWN: Kind = "triton"
UNKNOWN = "unknown"
Rule = tuple[object, Location, str]
"""Whether it is broken, where that shows, and what it says."""


class Defaults(Strict):
    """What a request takes that names neither: denoising steps and guidance scale."""

    steps: Annotated[int, Field(ge=1)]
    guidance_scale: Annotated[Finite, Field(ge=0, le=30)]


class Limits(Strict):
    """The most a request may ask for; `prompt` is in characters, None where nobody says."""

    steps: Annotated[int, Field(ge=1, le=1000)]
    images: Annotated[int, Field(ge=1, le=16)]
    prompt: Annotated[int, Field(ge=1)] | None = None


class SizePrice(Strict):
    """What one unit of a size costs in each tier, in US dollars."""

    size: Size
    draft: Usd
    standard: Usd
    high: Usd


class TokenPrice(Strict):
    """US dollars per million tokens, by which the provider bills in the end."""

    text_in: Usd
    image_in: Usd
    image_out: Usd


class PriceEntry(Strict):
    """A price: `usd` for all, or one per size; `source` and `read` say where and when it was found."""

    per: Unit
    usd: Usd | None = None
    sizes: tuple[SizePrice, ...] = ()
    tokens: TokenPrice | None = None
    source: Annotated[str, Field(min_length=1)]
    read: date

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.known and (self.usd is None) != bool(self.sizes):
            raise ValueError("exactly one of usd and sizes must be given")
        return self

    @property
    def known(self) -> bool:
        """Whether anybody has said what it is."""
        return bool(self.source)

    def price(self) -> Price:
        """Return the price as it is reckoned with."""
        if not self.known:
            return Price.UNKNOWN
        by_size = {
            row.size: {Tier.DRAFT: row.draft, Tier.STANDARD: row.standard, Tier.HIGH: row.high}
            for row in self.sizes
        }
        tokens = Tokens(**self.tokens.model_dump()) if self.tokens else None
        return Price(self.usd or 0.0, self.per, by_size, tokens)


class Prior(Strict):
    """What is expected before anything was observed: quality in [0, 1], seconds per step and image as measured."""

    quality: Annotated[Finite, Field(ge=0, le=1)]
    seconds_per_step: Annotated[Finite, Field(gt=0)]


UNPRICED = PriceEntry.model_construct(
    per=Unit.IMAGE, usd=None, sizes=(), tokens=None, source="", read=date.min
)
"""What nobody has said the price of."""


class BackendEntry(Strict):
    """One backend. `requires` names the models that its model calls; `price_usd` is short for one price an image.

    `sizes` are what its pictures may have; a model with one size is not told it. An `on_demand` model need not be
    loaded: it is leased from the model server, which loads it. One that goes `by_name` is for those who ask for it alone.
    `negative_prompts` is false for a model that negative prompts draw away from the prompt; it is given none.
    `remedy` tells what to do where weights, a key or a price are missing. `address` is another Triton than the default,
    or where a provider's API is.
    `edits` says that it takes a picture to work from, `durations` which lengths of video in seconds it makes, `commercial`
    whether its licence lets what it makes be sold.

    Paid models alone: `provider_model` is the provider's id, `edit_model` the one for requests with a source picture
    where it is another; `qualities` are the provider's words for the tiers, `request` what is sent with every call;
    `retires` is the first day on which the provider answers no more. Those whose `price` is `unknown` are never called.
    """

    name: Name
    kind: Kind
    model: ModelName
    modality: Modality
    requires: tuple[ModelName, ...] = ()
    remedy: Annotated[str, Field(min_length=1)]
    defaults: Defaults
    tiers: dict[Tier, Annotated[Finite, Field(gt=0, le=10)]]
    limits: Limits
    sizes: Annotated[tuple[Size, ...], Field(min_length=1)]
    on_demand: bool = False
    by_name: bool = False
    concurrency: Annotated[int, Field(ge=1, le=1024)]
    queue: Annotated[int, Field(ge=0, le=10_000)]
    negative_prompts: bool = True
    seeds: bool = True
    edits: bool = False
    durations: tuple[Annotated[Finite, Field(gt=0, le=600)], ...] = ()
    commercial: bool = True
    address: str = ""
    price_usd: Usd = 0.0
    price: PriceEntry | None = None
    provider_model: str = ""
    edit_model: str = ""
    qualities: dict[Tier, str] = Field(default_factory=dict)
    request: dict[str, str | int | bool] = Field(default_factory=dict)
    retires: date | None = None
    prior: Prior

    @field_validator("price", mode="before")
    @classmethod
    def _said_to_be_unknown(cls, price: Any) -> Any:
        return UNPRICED if price == UNKNOWN else price

    @property
    def paid(self) -> bool:
        """Whether a run costs money and leaves this installation."""
        return self.kind != OWN

    def pricing(self) -> Price:
        """Return what it charges."""
        return self.price.price() if self.price else Price(self.price_usd)

    def steps_by_tier(self) -> dict[Tier, int]:
        """Return the steps of each tier: the default scaled, at least 1 and at most the limit."""
        steps, most = self.defaults.steps, self.limits.steps
        return {tier: min(most, max(1, round(steps * share))) for tier, share in self.tiers.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for broken, at, rule in (*self._rules(), *(self._paid_rules() if self.paid else self._own_rules())):
            if broken:
                raise Fault(rule, at)
        return self

    def _rules(self) -> Iterator[Rule]:
        steps, most, durations = self.defaults.steps, self.limits.steps, self.durations
        yield steps > most, ("defaults", "steps"), f"defaults.steps {steps} is more than limits.steps {most}"
        yield _without_a_tier(self.tiers), ("tiers",), f"tiers must hold {_without_a_tier(self.tiers)} too"
        video = self.modality is Modality.VIDEO
        yield video and not durations, (), "durations must say which lengths of video it makes"
        yield durations and not video, ("durations",), f"durations are for video, not for {self.modality}"
        yield list(durations) != sorted(set(durations)), ("durations",), "durations must go up"
        yield self.price and self.price_usd, ("price_usd",), "price_usd is short for price: give one of them"
        if self.price:
            by_second = self.price.per is Unit.SECOND and not video
            yield by_second, ("price", "per"), f"price.per second is not for {self.modality}"
            priced = [row.size for row in self.price.sizes]
            unpriced = priced and sorted(priced) != sorted(self.sizes)
            yield unpriced, ("price", "sizes"), "price.sizes must hold each of sizes once and no other"

    def _own_rules(self) -> Iterator[Rule]:
        for name in ("provider_model", "edit_model", "qualities", "request", "retires"):
            yield getattr(self, name), (name,), f"{name} is for paid models, not for {self.kind}"

    def _paid_rules(self) -> Iterator[Rule]:
        name = f"{self.kind}/{self.model}"
        yield self.name != name, ("name",), f"name must be {name}"
        yield not self.provider_model, (), "provider_model must be the provider's id of the model"
        yield (
            not self.price,
            (),
            f"price must say what it costs, or {UNKNOWN} where the operator has to find out",
        )
        yield self.edit_model and not self.edits, ("edit_model",), "edit_model is for a model that edits"
        images, most = self.limits.images, MOST_IMAGES.get(self.kind, math.inf)
        yield (
            images > most,
            ("limits", "images"),
            f"{self.kind} makes at most {most} in one call, not {images}",
        )
        whole = all(duration.is_integer() for duration in self.durations)
        yield not whole, ("durations",), "durations of paid models are whole seconds"
        ours = sorted(OURS & set(self.request))
        yield ours, ("request", *ours[:1]), f"request may not say {', '.join(ours)}, which the router says"
        if self.kind == "pika":
            app, edit_app = self.provider_model.split("/")[:2], self.edit_model.split("/")[:2]
            yield (
                len(app) < 2,
                ("provider_model",),
                "provider_model must begin with owner and app, as in fal-ai/pika",
            )
            other = self.edit_model and edit_app != app
            yield (
                other,
                ("edit_model",),
                "edit_model must be of the app of provider_model, where its jobs are looked for",
            )
        lacking = self.qualities and _without_a_tier(self.qualities)
        yield lacking, ("qualities",), f"qualities must hold {lacking} too"


def _without_a_tier(given: Collection[Tier]) -> str:
    return ", ".join(sorted(set(Tier) - set(given)))


class _Document(Strict):
    backends: tuple[BackendEntry, ...]

    @field_validator("backends")
    @classmethod
    def _unique(cls, backends: tuple[BackendEntry, ...]) -> tuple[BackendEntry, ...]:
        if not backends:
            raise ValueError("must hold at least one backend")
        names = [entry.name for entry in backends]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise Fault(f"two backends are called {name}", (place, "name"))
        return backends


def load_entries(path: Path) -> tuple[BackendEntry, ...]:
    """Return the backends of a file, by name. Raises ConfigurationError."""
    return tuple(sorted(load(path, _Document).backends, key=lambda entry: entry.name))


def load_entry(path: Path) -> BackendEntry:
    """Return the backend of a file that holds one. Raises ConfigurationError."""
    return load(path, BackendEntry)
