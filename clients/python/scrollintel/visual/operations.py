"""What can be done to a picture; an enhancement is up to eight of them, carried out in the order given."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

UpscaleVariant = Literal["compact", "x4plus", "x4plus-anime"]


@dataclass(frozen=True, slots=True)
class Upscale:
    """Enlarge, by a factor or to an exact size; the picture keeps its shape, and what is left continues its border."""

    factor: int | None = None
    """2 or 4, on both sides; instead of a size."""
    width: int | None = None
    """Pixels, 1 to 8192; with `height`, instead of a factor."""
    height: int | None = None
    """Pixels, 1 to 8192."""
    variant: UpscaleVariant = "compact"
    """Which weights: fast, or slower with the texture of photographs, or slower with clean lines."""


@dataclass(frozen=True, slots=True)
class Denoise:
    """Remove noise."""


@dataclass(frozen=True, slots=True)
class Deblur:
    """Remove motion and focus blur."""


@dataclass(frozen=True, slots=True)
class RestoreFaces:
    """Find faces and repair them; a picture without any passes unchanged."""

    fidelity: float = 0.0
    """How close to stay to the picture: 0 (best looking) to 1 (most faithful)."""


Operation: TypeAlias = Upscale | Denoise | Deblur | RestoreFaces
