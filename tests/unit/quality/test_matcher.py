"""The matcher's own part of a score, over a Triton that a test plays."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scrollintel.visual.v1 import errors_pb2
from services.quality import matcher
from services.quality.adherence import matcher_input
from services.runtime.errors import MeshError


class PlayedTriton:
    """Answers as the two models do: the picture and the prompt are the same vector."""

    async def config(self, model: str) -> Any:
        return SimpleNamespace(input=[SimpleNamespace(name="image", dims=[8, 8, 3])])

    async def infer(self, model: str, inputs: Any, timeout: float) -> Any:
        if model == matcher.TEXT:
            return {"embedding": np.ones((1, 4), np.float32)}
        assert inputs["image"].shape == (1, 8, 8, 3)
        return {"embedding": np.ones((1, 4), np.float32), "text": np.ones((1, 4), np.float32)}


async def test_pictures_are_resized_off_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration = tmp_path / "calibration.json"
    calibration.write_text(json.dumps({"slope": 1.0, "offset": -1.0}))
    threads: list[threading.Thread] = []

    def watched(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return matcher_input(*arguments)

    monkeypatch.setattr(matcher, "matcher_input", watched)
    triton: Any = PlayedTriton()
    seen = await matcher.Matcher(triton, calibration).look(np.zeros((64, 32, 3), np.uint8), "an apple")
    assert seen is not None
    assert seen.adherence is not None
    assert seen.adherence.value == pytest.approx(0.5)
    assert threads
    assert threading.main_thread() not in threads


async def test_without_a_prompt_a_picture_is_seen_and_no_text_is_embedded(tmp_path: Path) -> None:
    calibration = tmp_path / "calibration.json"
    calibration.write_text(json.dumps({"slope": 1.0, "offset": -1.0}))
    asked: list[str] = []

    class Watched(PlayedTriton):
        async def infer(self, model: str, inputs: Any, timeout: float) -> Any:
            asked.append(model)
            return await super().infer(model, inputs, timeout)

    triton: Any = Watched()
    seen = await matcher.Matcher(triton, calibration).look(np.zeros((64, 32, 3), np.uint8), "")
    assert seen is not None
    assert seen.adherence is None
    assert seen.embedding.shape == (4,)
    assert asked == [matcher.MATCHER]


async def test_another_training_is_another_space(tmp_path: Path) -> None:
    spaces = []
    for slope in (1.0, 2.0):
        calibration = tmp_path / f"{slope}.json"
        calibration.write_text(json.dumps({"slope": slope, "offset": -1.0}))
        triton: Any = PlayedTriton()
        seen = await matcher.Matcher(triton, calibration).look(np.zeros((8, 8, 3), np.uint8), "")
        assert seen is not None
        spaces.append(seen.space)
    assert spaces[0] != spaces[1]


@pytest.mark.parametrize("output", ["embedding", "text"])
async def test_an_answer_that_is_no_number_is_none(tmp_path: Path, output: str) -> None:
    calibration = tmp_path / "calibration.json"
    calibration.write_text(json.dumps({"slope": 1.0, "offset": -1.0}))

    class Broken(PlayedTriton):
        async def infer(self, model: str, inputs: Any, timeout: float) -> Any:
            found = await super().infer(model, inputs, timeout)
            return (
                found | {output: np.full((1, 4), np.nan, np.float32)} if model == matcher.MATCHER else found
            )

    triton: Any = Broken()
    assert await matcher.Matcher(triton, calibration).look(np.zeros((8, 8, 3), np.uint8), "an apple") is None


async def test_a_matcher_with_too_much_to_do_costs_its_score_and_nothing_else(tmp_path: Path) -> None:
    calibration = tmp_path / "calibration.json"
    calibration.write_text(json.dumps({"slope": 1.0, "offset": -1.0}))

    class Full(PlayedTriton):
        async def infer(self, model: str, inputs: Any, timeout: float) -> Any:
            raise MeshError(errors_pb2.ERROR_REASON_OVERLOADED, "full")

    triton: Any = Full()
    assert await matcher.Matcher(triton, calibration).look(np.zeros((8, 8, 3), np.uint8), "") is None
