import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scrollintel.visual.exceptions import ModelError
from services.local.compare import sheet
from services.local.compare.figures import Outcome
from services.local.compare.prompts import Prompt
from services.local.compare.sheet import ABSENT, GAP, TILE, Tile

RED, BLUE = (255, 0, 0), (0, 0, 255)


def place(row_top, column):
    return GAP + column * (TILE + GAP) + TILE // 2, row_top + GAP + TILE // 2


def test_rows_are_prompts_and_columns_are_models(tmp_path):
    outcomes = {}
    for number, (prompt, model, colour) in enumerate([("a", "house", RED), ("b", "house", BLUE)]):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (64, 64), colour).save(path)
        outcomes[prompt, model] = Outcome(prompt, model, seconds=1.5, cost_usd=0.0, path=path)
    for prompt in "ab":
        outcomes[prompt, "sdxl"] = Outcome(prompt, "sdxl", error=ModelError("it needs weights"))
    made = sheet.draw([Prompt("a", "a cat"), Prompt("b", "a dog")], ["house", "sdxl"], outcomes)
    assert made.width == 2 * (TILE + GAP) + GAP
    first = made.height // 2 - TILE // 2 - GAP  # somewhere in the upper row
    colours = [made.getpixel((GAP + TILE // 2, y)) for y in range(made.height)]
    assert RED in colours[: first + TILE]
    assert BLUE in colours[made.height // 2 :]
    assert RED not in colours[made.height // 2 :]
    right = [made.getpixel((2 * GAP + TILE + 3, y)) for y in range(made.height)]
    grey = tuple(int(ABSENT[i : i + 2], 16) for i in (1, 3, 5))
    assert right.count(grey) >= 2 * (TILE - 10)


def test_a_picture_keeps_its_shape():
    made = sheet.grid([Tile(Image.new("RGB", (64, 32), RED))], 1)
    middle, above = made.getpixel(place(0, 0)), made.getpixel((place(0, 0)[0], GAP + 10))
    assert (middle, above) == (RED, (255, 255, 255))


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome("a", "m", seconds=1.25, cost_usd=0.0, scores={"overall": 0.7}), "quality 0.70 · 1.2 s · $0"),
        (Outcome("a", "m", seconds=9.0, cost_usd=0.04), "9.0 s · $0.040"),
        (Outcome("a", "m", seconds=9.0, cold=True), "9.0 s cold"),
        (Outcome("a", "m", error=ModelError("away")), "nothing was made"),
    ],
)
def test_figures_stand_below(outcome, told):
    assert sheet.caption(outcome) == ("m", told)


@given(st.text(max_size=200), st.integers(40, 400))
def test_wrapped_text_loses_no_word_and_fits(text, width):
    lines = sheet.wrapped(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(sheet._font().getlength(line) <= width or len(line) == 1 for line in lines)
