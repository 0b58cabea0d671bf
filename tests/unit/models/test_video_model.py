"""The video model's start, with Triton's module and its networks stood in for."""

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from services.models.assemble import SERVING
from services.models.presence import REPOSITORY

CODE = REPOSITORY / "video_diffusers" / "1"


def test_all_its_threads_run_before_the_first_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that memory is missing for when it is needed leaves its request in the pool, and nobody ends it."""
    names = {file.stem for directory in (CODE, SERVING) for file in directory.glob("*.py")}
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", ModuleType("triton_python_backend_utils"))
    monkeypatch.syspath_prepend(str(SERVING))
    monkeypatch.syspath_prepend(str(CODE))
    module = import_module("model")
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(module, "load", lambda *_, **__: None)
    (tmp_path / "pipeline.json").write_text('{"family": "wan"}', encoding="utf-8")
    told = {"concurrency": "3", "queue_size": "1", "intra_op_threads": "1"}
    parameters = {name: {"string_value": value} for name, value in told.items()}
    model = module.TritonPythonModel()
    model.initialize({"model_config": json.dumps({"input": [], "parameters": parameters})})
    assert len(model.pool._threads) == 3
    model.finalize()
    for name in names:
        sys.modules.pop(name, None)
