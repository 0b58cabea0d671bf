"""Reading requests and ending them, with Triton's module stood in for; tests/models does the same on the real one."""

import importlib
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

FINAL = 1


class Request(dict[str, Any]):
    """Tensors by name."""

    cancelled = False

    def is_cancelled(self) -> bool:
        return self.cancelled


class Sender:
    def __init__(self) -> None:
        self.sent: list[tuple[Any, int]] = []

    def send(self, response: Any, flags: int) -> None:
        self.sent.append((response, flags))


@pytest.fixture
def tensors(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    triton: Any = ModuleType("triton_python_backend_utils")
    triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL = FINAL
    triton.get_input_tensor_by_name = lambda request, name: (
        SimpleNamespace(as_numpy=lambda: request[name]) if name in request else None
    )
    triton.Tensor = lambda name, value: (name, value)
    triton.InferenceResponse = lambda tensors=(), error=None: error or dict(tensors)

    class TritonError:
        CANCELLED, INVALID_ARG, UNAVAILABLE, INTERNAL = "CANCELLED", "INVALID_ARG", "UNAVAILABLE", "INTERNAL"

        def __new__(cls, message: str, code: str) -> Any:
            return (code, message)

    triton.TritonError = TritonError
    logged: list[str] = []
    triton.Logger = SimpleNamespace(log_error=logged.append)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton)
    monkeypatch.delitem(sys.modules, "services.models.serving.tensors", raising=False)
    module = importlib.import_module("services.models.serving.tensors")
    module.logged = logged  # type: ignore[attr-defined]
    monkeypatch.delitem(sys.modules, "services.models.serving.tensors")
    return module


def test_the_single_value(tensors: ModuleType) -> None:
    request = Request(
        steps=np.array([4]), prompt=np.array([b"a cat"], np.object_), many=np.array([1, 2]), none=np.array([])
    )
    assert tensors.first(request, "steps") == 4
    assert tensors.first(request, "absent", 0) == 0
    assert tensors.text(request, "prompt") == "a cat"
    assert tensors.text(request, "absent", "") == ""
    assert tensors.values(request, "absent") is None
    for name, rule in (
        ("absent", "absent: is required"),
        ("many", "many: must hold one value; 2 given"),
        ("none", "none: must hold one value; 0 given"),
    ):
        with pytest.raises(ValueError, match=rule):
            tensors.first(request, name)
    with pytest.raises(ValueError, match="prompt: must be UTF-8"):
        tensors.text(Request(prompt=np.array([b"\xff"], np.object_)), "prompt")


def test_a_cancelled_request_is_stopped(tensors: ModuleType) -> None:
    request = Request()
    tensors.stop_if_cancelled(request, "after 3 steps")
    request.cancelled = True
    with pytest.raises(tensors.Cancelled, match="cancelled after 3 steps"):
        tensors.stop_if_cancelled(request, "after 3 steps")


def test_responses_and_their_end(tensors: ModuleType) -> None:
    sender = Sender()
    tensors.send(sender, {"step": 1}, last=False)
    tensors.send(sender, {"step": 2}, last=True)
    assert sender.sent == [({"step": 1}, 0), ({"step": 2}, FINAL)]


class Full(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "code", "message", "logged"),
    [
        (MemoryError(), "UNAVAILABLE", "out of memory: ask for less", True),
        (Full("the queue is full"), "UNAVAILABLE", "the queue is full", False),
        (ValueError("axis 3"), "INTERNAL", "drawing failed: axis 3", True),
        (None, "CANCELLED", "cancelled after 3 steps", False),
    ],
)
def test_what_the_work_raised_decides_the_end(
    tensors: ModuleType, error: Exception | None, code: str, message: str, logged: bool
) -> None:
    sender = Sender()
    tensors.end_with(
        sender,
        error or tensors.Cancelled("cancelled after 3 steps"),
        doing="drawing",
        remedy="ask for less",
        is_out_of_memory=lambda error: isinstance(error, MemoryError),
        unavailable=(Full,),
    )
    assert sender.sent == [((code, message), FINAL)]
    assert bool(tensors.logged) is logged


def test_a_process_that_cannot_tell_the_end_gives_up(
    tensors: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(response: Any, flags: int) -> None:
        raise MemoryError

    exits: list[int] = []
    monkeypatch.setattr(tensors.os, "_exit", exits.append)
    tensors.end(SimpleNamespace(send=broken), "out of memory", "UNAVAILABLE")
    assert exits == [1]
