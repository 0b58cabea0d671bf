from dataclasses import replace

import pytest

from services.models.entry import Precision, Profile
from services.models.tensorrt.key import EngineKey

KEY = EngineKey(
    sm=89,
    library="tensorrt_rtx",
    version="1.7.1.116",
    profiles={
        "sample": Profile(min=(1, 4, 64, 64), opt=(2, 4, 128, 128), max=(8, 4, 192, 192)),
        "timestep": Profile(min=(1,), opt=(2,), max=(8,)),
    },
    precision=Precision.FP16,
    weights="0" * 64,
)


def test_is_the_same_in_every_run_and_on_every_machine():
    """A changed digest orphans every engine there is: change RECIPE on purpose, not this by accident."""
    assert KEY.name == "sm89-tensorrt_rtx-1.7.1.116-fp16-310ec912aa9a"


def test_does_not_depend_on_the_order_of_inputs():
    assert replace(KEY, profiles=dict(reversed(KEY.profiles.items()))).digest == KEY.digest


@pytest.mark.parametrize(
    "change",
    [
        {"sm": 86},
        {"library": "tensorrt"},
        {"version": "1.7.1.117"},
        {"profiles": {**KEY.profiles, "timestep": Profile(min=(1,), opt=(1,), max=(8,))}},
        {"profiles": {"sample": KEY.profiles["sample"]}},
        {"precision": Precision.BF16},
        {"weights": "0" * 63 + "1"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_differs_when_any_part_does(change):
    assert replace(KEY, **change).digest != KEY.digest
    assert replace(KEY, **change).name != KEY.name
