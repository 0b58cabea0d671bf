"""Who gets which arm. Pure: a hash decides, so every replica says the same and nothing is remembered.

Each arm draws a number from the hash of experiment, unit and arm, and the smallest exponential waiting time wins, its
rate the arm's share (weighted rendezvous hashing; Moulton and Jiang, *Maximally consistent sampling and the Jaccard
index of probability distributions*, 2018). An arm wins exactly its share of the units. When shares change, a unit moves
only to an arm that grew against its own, and with two arms no way of assigning them would move fewer.
"""

import hashlib
import math
from collections.abc import Sequence

from router.experiments.experiment import Arm, Unit

DRAWS = 2.0**64


def unit_key(unit: Unit, tenant: str, user: str, request_id: str) -> str:
    """Return who a request counts as; one without a user counts as its tenant."""
    if unit is Unit.REQUEST:
        return f"request\0{request_id}"
    if unit is Unit.USER and user:
        return f"user\0{tenant}\0{user}"
    return f"tenant\0{tenant}"


def assign(experiment: str, unit: str, arms: Sequence[Arm]) -> Arm:
    """Return the arm of a unit, never a shadow; at least one of the others must have a share above 0."""
    return min(
        (arm for arm in arms if arm.share and not arm.shadow),
        key=lambda arm: -math.log(_draw(experiment, unit, arm.name)) / arm.share,
    )


def unit_hash(experiment: str, unit: str) -> str:
    """Return what a unit is called in tables: it tells who is the same, and not who it is."""
    return _digest(experiment, unit).hex()


def is_copied(experiment: str, request_id: str, shadow: Arm) -> bool:
    """Return whether a request of the control is among the share that a shadow gets copies of.

    Shadows of one share get copies of the same requests.
    """
    return _draw(experiment, request_id) <= shadow.share


def _draw(*names: str) -> float:
    """Return a number in (0, 1], the same for the same names wherever it is asked for."""
    return (int.from_bytes(_digest(*names), "big") + 1) / DRAWS


def _digest(*names: str) -> bytes:
    return hashlib.blake2b("\0\0".join(names).encode(), digest_size=8).digest()
