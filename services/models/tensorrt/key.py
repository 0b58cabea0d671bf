"""What makes two engines the same: if any of it differs, one cannot stand in for the other."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from services.models.entry import Precision, Profile

# Part of every key: raise it when the same graph becomes another one here (plain.py, cast.py, quantise.py).
RECIPE = 1


@dataclass(frozen=True)
class EngineKey:
    """The GPU's compute capability, the library and its version, the shapes, the precision and the graph's digest.

    `weights` is the SHA-256 of the exported graph and its weights.
    """

    sm: int
    library: str
    version: str
    profiles: Mapping[str, Profile]
    precision: Precision
    weights: str

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal over all of it, the same on every machine and in every run."""
        parts = {
            "sm": self.sm,
            "library": self.library,
            "version": self.version,
            "profiles": {name: profile.model_dump() for name, profile in self.profiles.items()},
            "precision": self.precision.value,
            "weights": self.weights,
            "recipe": RECIPE,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """A file name that can be read: `sm89-tensorrt_rtx-1.7.1.116-fp16-3f2a9c01b7de`."""
        return f"sm{self.sm}-{self.library}-{self.version}-{self.precision}-{self.digest[:12]}"
