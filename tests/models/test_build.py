"""Building the served repository: what is done once, what is done again, and what is refused."""

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from services.models import assemble, build, manifest
from services.models.assemble import SERVING
from services.models.build import BuildStatus, Site, build_one, build_repository
from services.models.catalogue import read_catalogue
from services.models.converters import Report
from services.models.entry import Model
from services.models.order import Order
from services.models.presence import REPOSITORY, served_repository
from services.models.sources import exclusive
from tests.models import small_model
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
    started = time.process_time()
    outcomes = build_repository(BUILD_HOME)
    assert time.process_time() - started < 1.0  # what it reads and compares; a build takes seconds
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


def test_a_build_brings_its_serving_modules_its_name_and_what_it_was_checked_by(
    home: Path, tmp_path: Path
) -> None:
    small_model.repository(tmp_path / "small")
    small_model.add(home, serving=["tiles"])
    outcome = build_one(
        "mine", Order(small_model.weights(tmp_path / "w")), Site(home, repository=tmp_path / "small")
    )
    assert outcome.status is BuildStatus.BUILT
    served = served_repository(home) / "mine"
    assert {str(path.relative_to(served)) for path in served.rglob("*") if path.is_file()} == {
        "1/model.onnx",
        "1/model.py",
        "1/tiles.py",
        "config.pbtxt",
        "entry.json",
        "manifest.json",
        "parity/index.json",
        "parity/model.npz",
    }
    assert (served / "1" / "tiles.py").read_text() == (SERVING / "tiles.py").read_text()
    assert manifest.check(served) == []


def test_what_a_converter_writes_beside_the_configuration_is_kept(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(model: Model, sources: Path, destination: Path, report: Report) -> None:
        (destination.parent / "backend.yaml").write_text("name: triton/mine\n")

    monkeypatch.setattr(assemble, "converter_of", lambda model: convert)
    small_model.repository(tmp_path / "small")
    small_model.add(home)
    build_one("mine", Order(small_model.weights(tmp_path / "w")), Site(home, repository=tmp_path / "small"))
    assert (served_repository(home) / "mine" / "backend.yaml").read_text() == "name: triton/mine\n"
    assert "backend.yaml" in manifest.read(served_repository(home) / "mine")


def test_a_built_file_that_changed_or_went_is_found(home: Path) -> None:
    only(home, SMALL)
    served = served_repository(home) / SMALL
    (served / "1" / "model.py").write_text("changed")
    (served / "config.pbtxt").unlink()
    assert manifest.check(served) == [
        "1/model.py: is not the file that was built",
        "config.pbtxt: is missing",
    ]
    (served / "manifest.json").write_text("{")
    with pytest.raises(manifest.ManifestError, match="build the model again"):
        manifest.check(served)


def test_one_models_build_does_not_hold_up_another(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a large model is exported for minutes and `vmesh up` brings the rest up to date."""
    entered, leave = threading.Event(), threading.Event()

    def slow(model: Model, sources: Path, destination: Path, report: Report) -> None:
        entered.set()
        assert leave.wait(30)

    small_model.repository(tmp_path / "small")
    small_model.add(home)
    site = Site(home, repository=tmp_path / "small")
    whole = assemble.converter_of
    monkeypatch.setattr(
        assemble, "converter_of", lambda model: slow if model.name == "mine" else whole(model)
    )
    order = Order(small_model.weights(tmp_path / "w"))
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(build_one, "mine", order, site)
        assert entered.wait(30)
        assert only(home, SMALL).status is BuildStatus.BUILT
        second = pool.submit(build_one, "mine", order, site)
        time.sleep(0.2)
        assert not second.done()  # waits for the first, and then finds its work done
        leave.set()
        assert long.result().status is BuildStatus.BUILT
        assert second.result().status is BuildStatus.UNCHANGED


@pytest.mark.parametrize("when", ["converting", "fetching"])
def test_an_interrupted_build_leaves_nothing_and_the_old_one_in_service(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    small_model.repository(tmp_path / "small")
    small_model.add(home)
    site = Site(home, repository=tmp_path / "small")
    build_one("mine", Order(small_model.weights(tmp_path / "w", 2.0)), site)
    old = (served_repository(home) / "mine").resolve()

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(
        *((assemble, "converter_of") if when == "converting" else (build, "assemble")), interrupt
    )
    with pytest.raises(KeyboardInterrupt):
        build_one("mine", Order(small_model.weights(tmp_path / "v", 3.0)), site)
    assert (served_repository(home) / "mine").resolve() == old
    assert list((home / "builds" / "mine").iterdir()) == [old]


def test_interrupting_many_ends_each_at_its_next_stage(home: Path) -> None:
    def progress(model: str, stage: str) -> None:
        if model == SMALL and stage == "checking model":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_repository(home, [SMALL, HOUSE], progress)
    assert not (served_repository(home) / SMALL).exists()
    assert not [path for path in (home / "builds").rglob(".making-*") if path.exists()]


def test_what_a_killed_build_left_is_swept(home: Path, tmp_path: Path) -> None:
    left = home / "builds" / SMALL / ".making-left"
    left.mkdir(parents=True)
    only(home, SMALL)
    assert not left.exists()


def test_optional_models_are_built_only_when_they_are_named(model_repository: Path) -> None:
    optional = {name for name, model in read_catalogue().items() if model.optional}
    assert "sdxl" in optional
    built = {outcome.model for outcome in build_repository(BUILD_HOME)}
    assert built == set(read_catalogue()) - optional


def test_one_who_waits_for_another_build_is_told(tmp_path: Path) -> None:
    home, stages, waits = tmp_path / "home", list[str](), threading.Event()

    def progress(_: str, stage: str) -> None:
        stages.append(stage)
        waits.set()

    small_model.add(home)
    site = Site(home, progress, repository=small_model.repository(tmp_path / "repository"))
    order = Order(small_model.weights(tmp_path / "weights"))
    with ThreadPoolExecutor(1) as pool:
        with exclusive(home / "builds" / ".mine.lock"):
            built = pool.submit(build_one, "mine", order, site)
            assert waits.wait(20)
            assert stages == ["waiting for another process that builds it"]
        assert built.result(60).status is BuildStatus.BUILT
