"""The shapes an engine is built for: what the catalogue says, else what follows from a model's sizes and its inputs."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from services.models.entry import Model, Profile

Shape: TypeAlias = tuple[int | None, ...]
Spread: TypeAlias = tuple[int, int, int]

# The inputs whose third and fourth axes are a picture's rows and columns, and whether these count latents or pixels.
LATENTS = frozenset({"sample", "latents"})
PIXELS = frozenset({"image"})
DENOISED = (
    "sample"  # the input of a denoiser, which classifier-free guidance calls with two rows for each picture
)
DEFAULT_IMAGES = 4  # drawn at once at most, where the entry has no limit


class ProfileError(Exception):
    """An input has no shapes, or impossible ones; the text names component, input and axis, and the field to set."""


def engine_profiles(
    model: Model,
    component: str,
    inputs: Mapping[str, Shape],
    checked_at: Mapping[str, tuple[int, ...]],
    pixels_per_latent: int = 8,
) -> dict[str, Profile]:
    """Return a profile for every input of `component` that has a free axis.

    `inputs` are its shapes, None where free; `checked_at` are the shapes that its engine will be held against the
    reference at, which a derived profile is widened to and a given one must take in. Raises ProfileError.
    """
    given = model.profiles.get(component, {})
    if unknown := sorted(given.keys() - inputs.keys()):
        raise ProfileError(
            f"{model.name}: profiles.{component}.{unknown[0]}: there is no such input; there are: {', '.join(inputs)}"
        )
    profiles = {}
    for name, shape in inputs.items():
        where = f"{model.name}: profiles.{component}.{name}"
        if name in given:
            _check(where, given[name], shape, checked_at.get(name))
            profiles[name] = given[name]
        elif None in shape:
            derived = _derive(where, model, inputs, name, shape, pixels_per_latent)
            profiles[name] = _widen(derived, checked_at[name]) if name in checked_at else derived
    return profiles


def _check(where: str, profile: Profile, shape: Shape, checked_at: tuple[int, ...] | None) -> None:
    if len(profile.min) != len(shape):
        raise ProfileError(f"{where}: has {len(profile.min)} axes, the graph's input has {len(shape)}")
    for axis, length in enumerate(shape):
        low, most = profile.min[axis], profile.max[axis]
        if low < 1:
            raise ProfileError(f"{where}: axis {axis}: min must be at least 1; {low} given")
        if length is not None and not low == most == length:
            raise ProfileError(f"{where}: axis {axis} is {length} in the graph; {low} to {most} given")

    if checked_at and not all(
        low <= length <= most for low, length, most in zip(profile.min, checked_at, profile.max, strict=True)
    ):
        raise ProfileError(
            f"{where}: must take in {list(checked_at)}, the shape at which the engine is held against its reference"
        )


def _widen(profile: Profile, shape: tuple[int, ...]) -> Profile:
    return Profile(
        min=tuple(map(min, profile.min, shape)), opt=profile.opt, max=tuple(map(max, profile.max, shape))
    )


def _derive(where: str, model: Model, inputs: Iterable[str], name: str, shape: Shape, factor: int) -> Profile:
    """The first axis counts pictures; rows and columns follow the sizes that the model draws."""
    rows_each = 2 if DENOISED in inputs else 1
    most = int(model.limits["num_images"].maximum) if "num_images" in model.limits else DEFAULT_IMAGES
    spreads: dict[int, Spread] = {0: (1, rows_each, rows_each * most)}
    if name in LATENTS | PIXELS and len(shape) == 4 and model.sizes:
        unit = factor if name in LATENTS else 1
        for axis, lengths in (
            (2, [height for _, height in model.sizes]),
            (3, [width for width, _ in model.sizes]),
        ):
            spreads[axis] = (min(lengths) // unit, lengths[0] // unit, max(lengths) // unit)
    for axis, length in enumerate(shape):
        if length is not None:
            spreads[axis] = (length, length, length)
        elif axis not in spreads:
            raise ProfileError(
                f"{where}: axis {axis} is free and its lengths are not known: give min, opt and max for this input in "
                "the catalogue's entry"
            )
    low, usual, high = zip(*(spreads[axis] for axis in range(len(shape))), strict=True)
    return Profile(min=low, opt=usual, max=high)
