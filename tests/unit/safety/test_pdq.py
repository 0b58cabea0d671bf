"""PDQ against Meta's own, and what it survives."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from services.safety.works import pdq

# By `pdqhash` 0.2.8, which wraps Meta's C++; of the upper left 500 x 400 pixels at the most.
META = {
    "astronaut": "6a94d19a4ab7875d38e39c5647a9e39e316b887654096ecd06de2827dc59f3a0",
    "coffee": "5231271337b38dacde43c636f0131c1ce8731e5387dbf87c19cd29f28e40d6f0",
    "chelsea": "5feb5321f01da156898e2bf629a5d3438412cdbd23f48942464526315db33ffd",
    "rocket": "a71658e9871658e9a73658cba7345acba5345acfa53052cbad345acfa43066da",
}


def distance(first: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    return int(np.unpackbits(first ^ other).sum())


def photograph(name: str) -> NDArray[np.uint8]:
    picture: NDArray[np.uint8] = getattr(data, name)()
    return picture[:400, :500]


@pytest.mark.parametrize("name", META)
def test_hashes_are_metas_to_the_bit(name: str) -> None:
    seen = pdq.hash_of(photograph(name))
    assert seen.own.tobytes().hex() == META[name]
    assert seen.quality == 100


TURNS = {
    "mirrored": lambda p: p[:, ::-1],
    "upside down": lambda p: p[::-1],
    "half round": lambda p: p[::-1, ::-1],
    "to the left": np.rot90,
    "to the right": lambda p: np.rot90(p, 3),
    "over the diagonal": lambda p: p.transpose(1, 0, 2),
    "over the other": lambda p: p[::-1, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_picture_has_the_work_among_its_variants(turn: str) -> None:
    picture = photograph("coffee")
    turned = pdq.hash_of(np.ascontiguousarray(TURNS[turn](picture)))
    own = pdq.hash_of(picture).own
    assert min(distance(variant, own) for variant in turned.variants) == 0
    assert distance(turned.own, own) > 64


SPOILT = {
    "half the size": lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "JPEG": lambda p: cv2.imdecode(
        cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR
    ),
    "grey": lambda p: np.dstack([cv2.cvtColor(p, cv2.COLOR_RGB2GRAY)] * 3),
    "larger than 512": lambda p: cv2.resize(p, (1800, 1200), interpolation=cv2.INTER_CUBIC),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_copy_stays_near_and_another_picture_is_far(how: str) -> None:
    work, other = (pdq.hash_of(photograph(name)).own for name in ("coffee", "chelsea"))
    copy = pdq.hash_of(np.asarray(SPOILT[how](photograph("coffee")), np.uint8)).own
    assert distance(copy, work) <= 20
    assert distance(copy, other) > 80


@pytest.mark.parametrize("size", [(1, 1), (4, 900), (5, 5), (64, 64), (1, 9000), (129, 65)])
def test_any_size_has_a_hash_and_a_plain_picture_no_quality(size: tuple[int, int]) -> None:
    seen = pdq.hash_of(np.full((*size, 3), 200, np.uint8))
    assert seen.variants.shape == (8, pdq.BYTES)
    assert seen.quality == 0
