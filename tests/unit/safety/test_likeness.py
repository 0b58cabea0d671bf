"""Likeness to exemplars: who is near enough, by how much more than to harmless ones, and how bad that is."""

import numpy as np
import pytest

from bench.safety.labelled import Half, load
from services.safety.category import JUDGED, Category
from services.safety.likeness import MOST_LETTERS, WINDOW_WORDS, Exemplars, Vectors, pieces
from services.safety.rulebook import load_exemplars, read

DATA = {
    "version": 1,
    "nearest_unsafe": 2,
    "nearest_harmless": 1,
    "likeness": 0.5,
    "margins": [{"margin": 0.0, "severity": 2}, {"margin": 0.2, "severity": 5}],
    "unsafe": {"hate": ["a", "b"], "violence": ["c"]},
    "harmless": ["d", "e"],
}
EXEMPLARS = Exemplars.parse(DATA)
AXES = np.eye(5, dtype=np.float32)  # one exemplar on each axis: a prompt's coordinates are its cosines


def prompt(*cosines: float) -> Vectors:
    return np.array([cosines], dtype=np.float32)


@pytest.mark.parametrize(
    ("cosines", "found"),
    [
        ((0.9, 0.7, 0.0, 0.1, 0.2), [(Category.HATE, 5)]),
        ((0.9, 0.0, 0.7, 0.1, 0.2), [(Category.HATE, 5)]),
        ((0.6, 0.0, 0.9, 0.1, 0.2), [(Category.VIOLENCE, 5)]),
        ((0.7, 0.7, 0.0, 0.6, 0.0), [(Category.HATE, 2)]),
        ((0.7, 0.7, 0.0, 0.8, 0.0), []),  # nearer to what is harmless
        ((0.9, 0.0, 0.0, 0.0, 0.0), []),  # near to one exemplar alone
        ((0.4, 0.4, 0.4, 0.0, 0.0), []),  # like nothing
    ],
)
def test_signals(cosines: tuple[float, ...], found: list[tuple[Category, int]]) -> None:
    signals = EXEMPLARS.signals(prompt(*cosines), AXES)
    assert [(signal.category, signal.severity) for signal in signals] == found


def test_the_worst_piece_counts() -> None:
    both = np.vstack([prompt(0.7, 0.7, 0.0, 0.6, 0.0), prompt(0.9, 0.7, 0.0, 0.1, 0.2)])
    (signal,) = EXEMPLARS.signals(both, AXES)
    assert signal.severity == 5
    assert signal.evidence == "likeness 0.80, margin 0.60"
    assert signal.checker == "exemplars/1"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"margins": []}, "margins"),
        ({"margins": [{"margin": 0.2, "severity": 5}, {"margin": 0.1, "severity": 6}]}, "margins"),
        ({"margins": [{"margin": 0.2, "severity": 8}]}, "margins"),
        ({"nearest_unsafe": 4}, "nearest_unsafe"),
        ({"nearest_harmless": 0}, "nearest_harmless"),
        ({"unsafe": {"rudeness": ["a"]}}, "rudeness"),
    ],
)
def test_parse_names_what_is_wrong(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Exemplars.parse(DATA | changes)


@pytest.mark.parametrize("count", [0, 1, WINDOW_WORDS, WINDOW_WORDS + 1, 1000])
def test_pieces_hold_every_word(count: int) -> None:
    words = [f"w{index}" for index in range(count)]
    windows = [window.split() for window in pieces(" ".join(words))]
    assert {word for window in windows for word in window} == set(words)
    assert all(len(window) <= WINDOW_WORDS for window in windows)
    assert len(windows) >= 1


@pytest.mark.parametrize("filler", ["x" * 3000, "! " * 12, "!" * 40, ""])
def test_pieces_are_read_to_their_end_whatever_stands_before(filler: str) -> None:
    text = f"{f'{filler} ' * 14}the end of all"
    windows = pieces(text)
    assert "the end of all" in windows[-1]
    assert all(len(window.replace(" ", "")) <= MOST_LETTERS for window in windows)
    assert len(windows) < len(text) / 50 + 10


def test_the_shipped_exemplars_are_of_the_half_that_may_be_tuned_on() -> None:
    halves = {prompt.text: prompt.half for prompt in load()}
    shipped = load_exemplars()
    assert {halves[text] for text in shipped.texts} == {Half.TUNE}
    assert set(shipped.shows) == {*JUDGED, None}
    assert str(read("exemplars.yaml")["version"]) in shipped.checker
