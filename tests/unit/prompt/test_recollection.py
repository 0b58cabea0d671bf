import numpy as np

from services.prompt.recollection import Recollection, Vector


def vector(number: float) -> Vector:
    return np.array([number], np.float32)


def test_what_was_added_is_known_by_its_content() -> None:
    known = Recollection()
    known.add({"a cat": vector(1), "\ud800": vector(2)})
    assert known.of(["a cat", "a dog", "\ud800"]) == {"a cat": vector(1), "\ud800": vector(2)}


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    known = Recollection(most=2)
    known.add({"a": vector(1), "b": vector(2)})
    known.of(["a"])
    known.add({"c": vector(3)})
    assert set(known.of(["a", "b", "c"])) == {"a", "c"}
