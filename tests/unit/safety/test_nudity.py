"""What two networks say together, and when the third is asked for faces; the networks are scripted."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.safety import nsfw
from services.safety.category import Category
from services.safety.pictures import nudity, people
from services.safety.pictures.checker import Opinion
from services.safety.pictures.nudity import Nudity, Shares, judge, minors
from services.safety.pictures.people import Face, People, portrait
from services.safety.pictures.reduction import reduced
from tests.unit.safety.checkers import GREY, book, shown
from tests.unit.safety.shipped import SCALE

# Of a box 100 wide and 120 high: eyes 44 apart at 0.42 of its height, the mouth 40 below them.
LOW = [[28, 50], [72, 50], [50, 72], [36, 90], [64, 90]]
HIGH = [[28, 43], [72, 43], [50, 68], [36, 90], [64, 90]]
ALONE = book().nsfwjs
BOX = [0, 0, 100, 120]


def face(landmarks: Any) -> Face:
    return Face(np.array(BOX, np.float64), np.array(landmarks, np.float64))


def severities(shares: Shares) -> dict[str, int]:
    return {
        " ".join(w for w in s.evidence.split() if w[0].isalpha()): s.severity
        for s in judge(shares, SCALE, ALONE)
    }


def test_nothing_is_said_of_a_harmless_picture() -> None:
    assert judge(Shares(unsafe=0.1, hentai=0.1, porn=0.1, sexy=0.1), SCALE, ALONE) == []


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        (Shares(0.912, 0, 0, 0), {"open_nsfw": 5}),
        (Shares(0.0, 0.85, 0, 0), {"nsfwjs hentai": 4}),
        (Shares(0.01, 0, 0.96, 0), {}),  # a close face, for one
        (Shares(0.01, 0, 0.98, 0), {"nsfwjs porn": 2}),
        (Shares(0.7, 0, 0.95, 0), {"open_nsfw": 3, "open_nsfw and nsfwjs porn": 4}),
        (Shares(0.95, 0, 0.7, 0), {"open_nsfw": 5}),
        (Shares(0.0, 0, 0, 0.95), {"nsfwjs sexy": 1}),
    ],
)
def test_what_is_said_alone_and_together(shares: Shares, said: dict[str, int]) -> None:
    assert severities(shares) == said


def test_a_policy_without_labels_of_nsfwjs_leaves_aside_what_it_says_alone() -> None:
    assert judge(Shares(0.01, 0, 0.99, 0.99), SCALE, {}) == []


def test_the_risk_is_no_less_than_open_nsfws_and_not_nsfwjs_alone() -> None:
    assert Shares(0.9, 0.1, 0.0, 1.0).risk == 0.9
    assert Shares(0.1, 0.8, 0.0, 0.0).risk == 0.8
    assert Shares(0.0, 0.0, 1.0, 1.0).risk == 0
    assert Shares(0.5, 0.0, 0.98, 0.0).risk == pytest.approx(0.7)


def test_proportions() -> None:
    low, high = face(LOW), face(HIGH)
    assert (low.eye_height, low.length) == (pytest.approx(50 / 120), pytest.approx(40 / 44))
    assert low.childlike
    assert not high.childlike
    assert face([[50, 60]] * 5).length == 0  # no size at all is no error


@pytest.mark.parametrize(("suspected", "severity"), [(0, None), (1, 2), (2, 5), (6, 5)])
def test_a_childlike_face_is_as_grave_as_the_nudity_around_it(suspected: int, severity: int | None) -> None:
    said = minors([face(HIGH), face(LOW)], suspected)
    assert [(signal.category, signal.severity) for signal in said] == (
        [(Category.MINORS, severity)] if severity else []
    )
    assert all(signal.evidence.startswith("face 2 of 2") for signal in said)
    assert minors([face(HIGH)], suspected) == []
    assert minors([], suspected) == []


@dataclass
class ScriptedTriton:
    """Answers every view with the same shares, and finds one childlike face."""

    unsafe: float = 0.0
    shares: tuple[float, ...] = (0.0, 0.0, 1.0, 0.0, 0.0)
    changed: dict[str, NDArray[Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    ages: list[float] | None = None
    sent: list[tuple[int, ...]] = field(default_factory=list)

    async def index(self, timeout: float) -> dict[str, str]:
        return {} if self.ages is None else {people.AGES: "READY"}

    async def infer(self, model: str, inputs: dict[str, NDArray[Any]], timeout: float) -> dict[str, Any]:
        self.asked.append(model)
        self.sent.append(inputs["image"].shape)
        if model == people.AGES:
            assert self.ages is not None
            return {"labels": np.array([b"3-9", b"20-29"], np.object_), "probabilities": np.array(self.ages)}
        count = len(inputs["image"])
        answers = {
            "probability": np.full((count, 1), self.unsafe, np.float32),
            "probabilities": np.tile(np.array(self.shares, np.float32), (count, 1)),
            "boxes": np.array([BOX], np.float32),
            "landmarks": np.array([LOW], np.float32),
        }
        return answers | self.changed


async def look(triton: Any) -> Opinion:
    return await Nudity(triton, 1.0).check(shown(GREY))


async def test_no_faces_are_looked_for_in_a_harmless_picture() -> None:
    triton = ScriptedTriton(unsafe=0.19)
    opinion = await look(triton)
    assert (list(opinion.signals), opinion.risk) == ([], pytest.approx(0.19))
    assert sorted(triton.asked) == sorted([nsfw.MODEL, nudity.SECOND])


async def test_a_childlike_face_where_nudity_is_suspected_is_told() -> None:
    triton = ScriptedTriton(unsafe=0.6)
    opinion = await look(triton)
    assert triton.asked[-1] == people.MODEL
    assert {signal.category: signal.severity for signal in opinion.signals} == {
        Category.SEXUAL: 2,
        Category.MINORS: 5,
    }


async def test_an_operators_classifier_of_ages_is_asked_instead_of_the_proportions() -> None:
    grown_up = ScriptedTriton(unsafe=0.6, ages=[0.1, 0.9])
    assert [signal.category for signal in (await look(grown_up)).signals] == [Category.SEXUAL]
    assert grown_up.sent[-1] == (64, 64, 3)  # the face and its margin fill the whole picture
    child = await look(ScriptedTriton(unsafe=0.25, ages=[0.5, 0.5]))
    assert [(signal.category, signal.severity, signal.evidence) for signal in child.signals] == [
        (Category.SEXUAL, 1, "open_nsfw 0.250"),
        (Category.MINORS, 5, "3-9 0.500"),
    ]


async def test_a_large_picture_is_sent_small_and_its_faces_are_where_they_are() -> None:
    triton = ScriptedTriton()
    (small,) = await People(triton, 1.0).faces(np.zeros((300, 1024, 3), np.uint8))  # type: ignore[arg-type]
    (large,) = await People(triton, 1.0).faces(np.zeros((1200, 4096, 3), np.uint8))  # type: ignore[arg-type]
    assert triton.sent == [(300, 1024, 3), (300, 1024, 3)]
    np.testing.assert_allclose(large.box, 4 * small.box)
    np.testing.assert_allclose(large.landmarks, 4 * small.landmarks)
    assert large.childlike


@pytest.mark.parametrize(
    ("given", "sent"),
    [((1024, 7, 3), (1024, 7, 3)), ((8192, 1, 3), (1024, 1, 3)), ((2048, 1024, 3), (1024, 512, 3))],
)
def test_reduced(given: tuple[int, ...], sent: tuple[int, ...]) -> None:
    assert reduced(np.zeros(given, np.uint8)).shape == sent


def test_a_face_at_the_border_is_cut_out_with_what_there_is() -> None:
    picture = np.zeros((50, 80, 3), np.uint8)
    points = np.zeros((5, 2))
    assert portrait(picture, Face(np.array([40.0, 10, 60, 30]), points)).shape == (30, 30, 3)
    assert portrait(picture, Face(np.array([70.0, 40, 80, 50]), points)).shape == (13, 13, 3)
    assert portrait(picture, Face(np.array([80.0, 50, 80, 50]), points)).shape == (1, 1, 3)


@pytest.mark.parametrize(
    "changed",
    [
        {"probability": np.array([[np.nan], [0.0]])},
        {"probability": np.array([[0.0]])},
        {"probability": np.array([[0.0], [1.1]])},
        {"probabilities": np.array([[0.2, -0.1, 0.9, 0.0, 0.0]])},
        {"probabilities": np.zeros((1, 4))},
        {"probability": np.array([[0.6], [0.6]]), "boxes": np.zeros((0, 4))},
        {"probability": np.array([[0.6], [0.6]]), "landmarks": np.full((1, 5, 2), np.nan)},
    ],
)
async def test_an_answer_that_is_none_is_no_pass(changed: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(ValueError, match=r"."):
        await look(ScriptedTriton(changed=changed))
