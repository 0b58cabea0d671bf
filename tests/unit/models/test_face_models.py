"""The face models where memory runs out, with Triton's module and their networks stood in for."""

import json
import sys
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.models.assemble import SERVING
from services.models.presence import REPOSITORY

OPENER = {"face_detection_centerface": "graph", "face_restoration": "networks"}
PARAMETERS = {"intra_op_threads": "1", "max_pixels": "100", "max_faces": "1"}
REQUEST = {"image": np.zeros((8, 8, 3), np.uint8), "faces": np.zeros((1, 512, 512, 3), np.uint8)}
MAPS = {"heatmap": 1, "scale": 2, "offset": 2, "landmarks": 10}


class Memory:
    """What opens networks, and is one: nothing opens or runs while there is no room."""

    def __init__(self) -> None:
        self.room = True
        self.opened = 0

    def load(self, *_: Any, **__: Any) -> "Memory":
        self._take()
        self.opened += 1
        return self

    def run(self, *_: Any, **__: Any) -> dict[str, NDArray[np.float32]]:
        self._take()
        return {name: np.zeros((1, channels, 64, 64), np.float32) for name, channels in MAPS.items()}

    def restore(self, face: NDArray[np.float32], _: float) -> NDArray[np.float32]:
        self._take()
        return face

    def _take(self) -> None:
        if not self.room:
            raise MemoryError


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> Any:
    stand_in: Any = ModuleType("triton_python_backend_utils")
    stand_in.get_input_tensor_by_name = lambda request, name: (
        SimpleNamespace(as_numpy=lambda: REQUEST[name]) if name in REQUEST else None
    )
    stand_in.Tensor = lambda name, value: (name, value)
    stand_in.InferenceResponse = lambda tensors=(), error=None: error or dict(tensors)
    stand_in.TritonError = lambda message, code: (code, message)
    stand_in.TritonError.UNAVAILABLE = "UNAVAILABLE"
    for code in ("INVALID_ARG", "INTERNAL", "CANCELLED"):
        setattr(stand_in.TritonError, code, code)
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    return stand_in


@pytest.mark.parametrize("template", OPENER)
def test_memory_that_ran_out_is_given_back_before_more_is_taken(
    monkeypatch: pytest.MonkeyPatch, triton: Any, template: str
) -> None:
    """Opening it afresh at once would take a second network's memory where there was none for the first's run."""
    code, memory = REPOSITORY / template / "1", Memory()
    for file in (*code.glob("*.py"), *SERVING.glob("*.py")):
        monkeypatch.delitem(sys.modules, file.stem, raising=False)
    monkeypatch.syspath_prepend(str(SERVING))
    monkeypatch.syspath_prepend(str(code))
    monkeypatch.setattr(import_module(OPENER[template]), "load", memory.load)
    model = import_module("model").TritonPythonModel()
    told = {name: {"string_value": value} for name, value in PARAMETERS.items()}
    model.initialize({"model_config": json.dumps({"parameters": told})})
    request = SimpleNamespace(is_cancelled=lambda: False)
    memory.room = False
    for _ in range(2):
        ((ended, message),) = model.execute([request])
        assert (ended, message[:20]) == ("UNAVAILABLE", "out of memory: send ")
    memory.room = True
    (answer,) = model.execute([request])
    assert answer.keys() <= {"boxes", "landmarks", "scores", "faces"}
    assert memory.opened == 2
    for file in (*code.glob("*.py"), *SERVING.glob("*.py")):
        sys.modules.pop(file.stem, None)
