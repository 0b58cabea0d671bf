"""Operators' classifiers: built from the files of an export, served on the real Triton, and read by the checker."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from skimage import data
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from services.models import convert_classifier
from services.models.build import BuildStatus, Site, build_one, build_repository
from services.models.order import Order
from services.models.presence import served_repository
from services.runtime.triton import TritonClient
from services.safety.pictures.checker import Opinion
from services.safety.pictures.violence import Violence
from tests.models.calls import infer
from tests.triton_fixture import BUILD_HOME
from tests.unit.safety.checkers import shown

TWIN = "violence_classifier-test"


@pytest.fixture
async def classifier(client: InferenceServerClient) -> InferenceServerClient:
    (outcome,) = build_repository(BUILD_HOME, [TWIN])
    assert outcome.served, outcome
    await client.load_model(TWIN)
    return client


async def test_what_is_served_is_what_the_graph_says(classifier: InferenceServerClient) -> None:
    picture = np.ascontiguousarray(data.astronaut()[:32, :32])  # the network's own size: nothing is resized
    served = await infer(classifier, TWIN, image=picture)
    graph = served_repository(BUILD_HOME) / TWIN / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    given = (picture.transpose(2, 0, 1)[None] / 127.5 - 1).astype(np.float32)
    (logits,) = session.run(None, {"pixel_values": given})
    expected = np.exp(logits[0]) / np.exp(logits[0]).sum()
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-5)
    assert served["labels"].tolist() == [label.encode() for label in convert_classifier.RANDOM_LABELS]


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 300, 3), (700, 40, 3)])
async def test_any_size(classifier: InferenceServerClient, shape: tuple[int, ...]) -> None:
    served = await infer(classifier, TWIN, image=np.full(shape, 90, np.uint8))
    assert served["probabilities"].sum() == pytest.approx(1, abs=1e-5)


async def test_no_pixels_are_refused(classifier: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="image: must have 1 to"):
        await infer(classifier, TWIN, image=np.zeros((0, 4, 3), np.uint8))


async def test_the_checker_reads_it(classifier: InferenceServerClient, triton: Any) -> None:
    async with TritonClient(triton.grpc_address) as connected:
        opinion = await Violence(connected, 30.0, model=TWIN).check(shown(data.astronaut()))  # type: ignore[no-untyped-call]
    assert isinstance(opinion, Opinion)
    assert 0 < opinion.risk < 1


def export(directory: Path) -> Path:
    """The files of a classifier, as its exporter writes them."""
    directory.mkdir()
    convert_classifier._draw(directory, seed=1)
    return directory


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_operators_export_becomes_a_model(tmp_path: Path) -> None:
    weights = export(tmp_path / "weights")
    change(weights / "config.json", problem_type="multi_label_classification")
    outcome = build_one("violence_classifier", Order(weights=weights), Site(tmp_path))
    assert outcome.status is BuildStatus.BUILT, outcome
    told = json.loads(
        (served_repository(tmp_path) / "violence_classifier" / "1" / "classifier.json").read_text()
    )
    assert not told["exclusive"]
    assert told["labels"] == list(convert_classifier.RANDOM_LABELS)


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("config.json", {"id2label": {"0": "a", "1": "b"}}, "answers (3,) for 2 labels"),
        ("config.json", {"id2label": {"1": "a", "2": "b", "3": "c"}}, "id2label: must name every output"),
        ("preprocessor_config.json", {"size": {"height": 32, "width": 64}}, "size: must be one side"),
        ("preprocessor_config.json", {"size": 48}, "takes no pictures (2, 3, 48, 48)"),
        ("preprocessor_config.json", {"image_mean": [0.5, 0.5]}, "must have 3 channels"),
        ("preprocessor_config.json", {"image_std": [0.0] * 3}, "must be above 0"),
    ],
)
def test_files_that_do_not_fit_one_another_are_refused(
    tmp_path: Path, file: str, changes: dict[str, Any], said: str
) -> None:
    weights = export(tmp_path / "weights")
    change(weights / file, **changes)
    outcome = build_one("violence_classifier", Order(weights=weights), Site(tmp_path))
    assert outcome.status is BuildStatus.FAILED
    assert said in outcome.detail
    assert not (served_repository(tmp_path) / "violence_classifier").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    weights = export(tmp_path / "weights")
    (weights / "config.json").unlink()
    outcome = build_one("violence_classifier", Order(weights=weights), Site(tmp_path))
    assert outcome.status in (BuildStatus.FAILED, BuildStatus.NEEDS_WEIGHTS)
    assert "config.json" in outcome.detail
