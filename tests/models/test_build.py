"""Building the served repository: what is done once, what is done again, and what is refused."""

import shutil
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from services.models import build
from services.models.build import BuildStatus, build_repository
from services.models.catalogue import read_catalogue
from services.models.presence import REPOSITORY, served_repository
from tests.triton_fixture import BUILD_HOME

SMALL = "nsfw_open_nsfw"
HOUSE = "text_to_image_house"


@pytest.fixture
def home(model_repository: Path, tmp_path: Path) -> Path:
    """A home with the weights already fetched and nothing built."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "weights").symlink_to(BUILD_HOME / "weights")
    return tmp_path / "home"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the committed repository that a test may change."""
    copy = tmp_path / "repository"
    shutil.copytree(REPOSITORY, copy)
    return copy


def only(home: Path, model: str, **options: object) -> build.Outcome:
    (outcome,) = build_repository(home, [model], **options)  # type: ignore[arg-type]
    return outcome


def test_built_once_then_left_alone(home: Path) -> None:
    stages: list[tuple[str, str]] = []
    assert only(home, SMALL, progress=lambda *stage: stages.append(stage)).status is BuildStatus.BUILT
    assert stages == [
        (SMALL, "converting and checking"),
        (SMALL, "optimising model"),
        (SMALL, "checking model"),
    ]
    served = served_repository(home) / SMALL
    assert {path.name for path in served.rglob("*") if path.is_file()} == {
        "config.pbtxt",
        "entry.json",
        "index.json",
        "manifest.json",
        "model.npz",
        "model.py",
        "model.onnx",
    }
    first = served.resolve()
    assert only(home, SMALL).status is BuildStatus.UNCHANGED
    assert served.resolve() == first


def test_nothing_to_do_takes_no_time(model_repository: Path) -> None:
    build_repository(BUILD_HOME)
    started = time.perf_counter()
    outcomes = build_repository(BUILD_HOME)
    assert time.perf_counter() - started < 0.3
    assert {outcome.status for outcome in outcomes} <= {BuildStatus.UNCHANGED, BuildStatus.NEEDS_WEIGHTS}


def test_changed_code_is_built_again_and_the_old_build_goes(home: Path, repository: Path) -> None:
    only(home, SMALL, repository=repository)
    old = (served_repository(home) / SMALL).resolve()
    code = repository / SMALL / "1" / "model.py"
    code.write_text(code.read_text() + "\n# changed\n")
    assert only(home, SMALL, repository=repository).status is BuildStatus.BUILT
    assert (served_repository(home) / SMALL / "1" / "model.py").read_text().endswith("# changed\n")
    assert not old.exists()


def test_a_build_that_fails_leaves_the_old_one_in_service(home: Path, repository: Path) -> None:
    only(home, HOUSE, repository=repository)
    old = (served_repository(home) / HOUSE).resolve()
    (repository / HOUSE / "1" / "model.onnx").write_bytes(b"not a graph")
    outcome = only(home, HOUSE, repository=repository)
    assert outcome.status is BuildStatus.FAILED
    assert outcome.detail
    assert (served_repository(home) / HOUSE).resolve() == old
    assert [path.name for path in (home / "builds" / HOUSE).iterdir()] == [old.name]


def test_committed_weights_that_are_absent_are_asked_for(home: Path, repository: Path) -> None:
    only(home, HOUSE, repository=repository)
    (repository / HOUSE / "1" / "model.onnx").unlink()
    outcome = only(home, HOUSE, repository=repository)
    assert outcome.status is BuildStatus.NEEDS_WEIGHTS
    assert "1/model.onnx not here: train and export it" in outcome.detail
    assert not (served_repository(home) / HOUSE).exists()


def test_a_licence_that_forbids_commercial_use_is_refused_unless_allowed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = read_catalogue()[SMALL]
    licence = entry.licence.model_copy(update={"commercial_use": False, "spdx": "CC-BY-NC-4.0"})
    monkeypatch.setattr(
        build, "read_catalogue", lambda home: {SMALL: entry.model_copy(update={"licence": licence})}
    )
    outcome = only(home, SMALL)
    assert outcome.status is BuildStatus.REFUSED
    assert "CC-BY-NC-4.0" in outcome.detail
    assert only(home, SMALL, allow_noncommercial=True).status is BuildStatus.BUILT
    assert only(home, SMALL).status is BuildStatus.REFUSED
    assert not (served_repository(home) / SMALL).exists()


def test_an_unknown_model_is_named(home: Path) -> None:
    with pytest.raises(ValueError, match=r"no model named juggler; there are: .*image_text_matcher"):
        build_repository(home, ["juggler"])


def test_a_built_graph_computes_what_the_committed_one_does(model_repository: Path) -> None:
    generator = np.random.default_rng(0)
    feed = {
        "z": generator.standard_normal((3, 3, 64, 64)).astype(np.float32),
        "t": generator.random(3).astype(np.float32),
        "words": generator.standard_normal((3, 12, 384)).astype(np.float32),
        "pooled": generator.standard_normal((3, 384)).astype(np.float32),
    }
    committed, built = (
        onnxruntime.InferenceSession(
            str(path / HOUSE / "1" / "model.onnx"), providers=["CPUExecutionProvider"]
        )
        for path in (REPOSITORY, model_repository)
    )
    np.testing.assert_allclose(built.run(None, feed)[0], committed.run(None, feed)[0], atol=1e-4)
