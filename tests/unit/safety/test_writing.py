"""Text in a picture judged as a prompt is, with models whose answers are given."""

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from services.runtime.triton import TritonClient
from services.safety.category import Category
from services.safety.pictures.checker import Shown
from services.safety.pictures.writing import CHECKER, MOST_LINES, Writing
from services.safety.policyfile import load_book
from services.safety.rulebook import load_disguises, load_rules

RULES = load_rules()
PICTURE = np.full((640, 640, 3), 128, np.uint8)
TWO_LINES = ((100, 60), (300, 60))


@dataclass
class Models:
    """Marks a line at each place (y, x), and reads the next text for each line that is shown."""

    places: tuple[tuple[int, int], ...] = TWO_LINES
    texts: list[tuple[str, float]] = field(default_factory=list)
    shown: int = 0

    async def infer(self, model: str, inputs: dict[str, NDArray[Any]], timeout: float) -> dict[str, Any]:
        if model == "text_detection":
            found = np.zeros(inputs["image"].shape[:2], np.uint8)
            for y, x in self.places:
                found[y : y + 6, x : x + 200] = 255
            return {"probability": found}
        count = len(inputs["line"])
        read = [self.texts[(self.shown + index) % len(self.texts)] for index in range(count)]
        self.shown += count
        return {
            "text": np.array([[text.encode()] for text, _ in read], np.object_),
            "confidence": np.array([[sure] for _, sure in read], np.float32),
        }


def reader(models: Models) -> Writing:
    return Writing(cast("TritonClient", models), RULES, 5.0)


def shown(tenant: str = "") -> Shown:
    return Shown(PICTURE, tenant, load_book(None, load_disguises()))


async def test_lines_are_judged_as_one_text_and_none_of_it_is_told() -> None:
    opinion = await reader(Models(texts=[("a nude", 0.99), ("woman", 0.99)])).check(shown())
    (signal,) = opinion.signals
    assert (signal.category, signal.checker) == (Category.SEXUAL, CHECKER)
    assert signal.evidence.startswith("text in the picture, rule sexual.")
    assert "woman" not in signal.evidence
    assert opinion.risk == signal.severity / 7


@pytest.mark.parametrize("text", ["fresh fish daily", ""])
async def test_harmless_or_empty_lines_are_no_finding(text: str) -> None:
    opinion = await reader(Models(texts=[(text, 0.99)])).check(shown())
    assert not opinion.signals
    assert opinion.risk == 0


async def test_without_lines_the_recogniser_is_not_asked() -> None:
    models = Models(places=(), texts=[("a nude woman", 0.99)])
    assert await reader(models).read(PICTURE) == ""
    assert models.shown == 0


async def test_a_doubtful_line_is_read_upside_down_too_and_the_surer_reading_counts() -> None:
    models = Models(places=TWO_LINES[:1], texts=[("uewom", 0.6), ("women", 0.95)])
    assert await reader(models).read(PICTURE) == "women"


async def test_what_is_illegible_both_ways_is_no_text() -> None:
    assert await reader(Models(texts=[("nude woman", 0.4)])).read(PICTURE) == ""


async def test_a_picture_full_of_lines_is_read_up_to_a_bound() -> None:
    places = tuple((y, x) for y in range(4, 630, 16) for x in (20, 340))
    models = Models(places=places, texts=[("word", 0.99)])
    assert (await reader(models).read(PICTURE)).split() == ["word"] * MOST_LINES
    assert models.shown == MOST_LINES


@pytest.mark.parametrize("confidence", [np.nan, -0.1, 1.1])
async def test_strange_answers_are_no_pass(confidence: float) -> None:
    class Strange(Models):
        async def infer(self, model: str, inputs: dict[str, NDArray[Any]], timeout: float) -> dict[str, Any]:
            answer = await super().infer(model, inputs, timeout)
            if model == "text_detection":
                return answer
            return answer | {"confidence": np.full((len(inputs["line"]), 1), confidence, np.float32)}

    with pytest.raises(ValueError, match="confidences"):
        await reader(Strange(texts=[("word", 0.9)])).read(PICTURE)
