"""Weights that whoever runs the mesh brings: built, remembered, under other names; and every way to be wrong."""

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from services.models import digests
from services.models.build import BuildStatus, Outcome, Site, build_one
from services.models.catalogue import CatalogueError, get_model, read_catalogue
from services.models.entry import Lora, OperatorSource, Precision
from services.models.operator_weights import WeightsError, check, files_of
from services.models.order import Order, read_lora, read_precision
from services.models.pickles import UnsafeFileError
from services.models.presence import presence, served_repository
from services.models.state import State, state_of
from tests.models import small_model
from tests.models.test_weights import Touch


@pytest.fixture
def home(tmp_path: Path) -> Path:
    small_model.repository(tmp_path / "repository")
    small_model.add(tmp_path / "home")
    return tmp_path / "home"


def built(home: Path, entry: str = "mine", /, **order: Any) -> Outcome:
    return build_one(entry, Order(**order), Site(home, repository=home.parent / "repository"))


def factor_of(home: Path, name: str = "mine") -> float:
    graph = served_repository(home) / name / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    return float(session.run(None, {"x": [[1.0, 1.0, 1.0]]})[0][0, 0])


def test_a_model_of_ones_own_is_built_from_weights_of_ones_own(home: Path) -> None:
    assert (
        state_of(get_model("mine", home), {}, presence(get_model("mine", home), home))[0]
        is State.NEEDS_WEIGHTS
    )
    weights = small_model.weights(home.parent / "brought", 5.0)
    assert built(home, weights=weights) == Outcome("mine", BuildStatus.BUILT)
    assert factor_of(home) == 5
    config = (served_repository(home) / "mine" / "config.pbtxt").read_text()
    assert config.startswith('name: "mine"\n')  # the template's is another
    assert state_of(get_model("mine", home), {}, presence(get_model("mine", home), home)) == (
        State.LOADABLE,
        "",
    )


def test_where_they_were_is_remembered_and_a_change_is_seen(home: Path) -> None:
    weights = small_model.weights(home.parent / "brought", 5.0)
    built(home, weights=weights)
    assert built(home).status is BuildStatus.UNCHANGED
    small_model.weights(weights, 7.0)
    assert built(home).status is BuildStatus.BUILT
    assert factor_of(home) == 7


def test_gone_weights_are_asked_for_again(home: Path) -> None:
    weights = small_model.weights(home.parent / "brought")
    built(home, weights=weights)
    shutil.rmtree(weights)
    outcome = built(home)
    assert outcome.status is BuildStatus.NEEDS_WEIGHTS
    assert "vmesh models build mine --weights DIR" in outcome.detail
    assert "hf download somebody/something" in outcome.detail
    assert factor_of(home) == 2  # what was built of them serves all the same


def test_weights_that_moved_are_found_where_they_are_now(home: Path) -> None:
    weights = small_model.weights(home.parent / "brought")
    built(home, weights=weights)
    weights.rename(home.parent / "moved")
    assert built(home, weights=home.parent / "moved").status is BuildStatus.UNCHANGED
    assert built(home).status is BuildStatus.UNCHANGED


def test_large_files_are_read_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = small_model.weights(home.parent / "brought")
    read: list[Path] = []
    whole = digests.sha256_file

    def counted(path: Path) -> str:
        read.append(path)
        return whole(path)

    monkeypatch.setattr(digests, "sha256_file", counted)
    built(home, weights=weights)
    assert read == [weights / "model.onnx"]
    assert built(home).status is BuildStatus.UNCHANGED
    assert read == [weights / "model.onnx"]


def test_the_same_entry_serves_two_sets_of_weights_under_two_names(home: Path) -> None:
    first, second = (small_model.weights(home.parent / f"w{factor:g}", factor) for factor in (3.0, 4.0))
    built(home, weights=first)
    assert built(home, weights=second, name="mine-too") == Outcome("mine-too", BuildStatus.BUILT)
    assert (factor_of(home), factor_of(home, "mine-too")) == (3, 4)
    derived = get_model("mine-too", home)
    assert (derived.template, derived.optional, derived.licence) == (
        "small",
        True,
        get_model("mine", home).licence,
    )
    # It is an entry like any other: built again by its own name, from its own weights.
    assert built(home, "mine-too").status is BuildStatus.UNCHANGED
    assert built(home, weights=first, name="mine-too").status is BuildStatus.BUILT
    assert factor_of(home, "mine-too") == 3


def test_a_build_that_fails_makes_no_entry(home: Path) -> None:
    broken = home.parent / "broken"
    broken.mkdir()
    (broken / "model.onnx").write_bytes(b"not a graph")
    assert built(home, weights=broken, name="mine-too").status is BuildStatus.FAILED
    assert "mine-too" not in read_catalogue(home)
    assert not (served_repository(home) / "mine-too").exists()
    assert list((home / "builds" / "mine-too").iterdir()) == []


def test_a_precision_is_kept_until_weights_are_brought_anew(home: Path) -> None:
    weights = small_model.weights(home.parent / "brought")
    built(home, weights=weights, precision=Precision.FP16)
    digest = (served_repository(home) / "mine").resolve()
    assert json.loads((digest / "entry.json").read_text())["precisions"] == ["fp16", "fp32"]
    assert built(home).status is BuildStatus.UNCHANGED
    assert built(home, weights=weights).status is BuildStatus.BUILT
    entry = json.loads((served_repository(home) / "mine" / "entry.json").read_text())
    assert entry["precisions"] == ["fp32", "fp16"]


@pytest.mark.parametrize(
    ("name", "order", "message"),
    [
        ("juggler", {}, "no model named 'juggler'"),
        ("mine", {"precision": Precision.INT8}, "--precision: mine is built in fp32, fp16; not in int8"),
        ("mine", {"name": "Mine"}, "--name: String should match pattern"),
        ("mine", {"name": "upscale_realesrgan"}, "--name: there is another model named 'upscale_realesrgan'"),
        ("mine", {"loras": (Lora(path="/a"),)}, "--lora: mine takes none"),
        ("nsfw_open_nsfw", {"weights": Path("/a")}, "--weights: nsfw_open_nsfw brings its own (package)"),
    ],
)
def test_an_order_that_cannot_be_names_the_option(
    home: Path, name: str, order: dict[str, Any], message: str
) -> None:
    with pytest.raises(CatalogueError) as caught:
        built(home, name, **order)
    assert message in str(caught.value)


def test_the_file_of_a_change_and_its_scale(tmp_path: Path) -> None:
    file = tmp_path / "a:b.safetensors"
    file.touch()
    assert read_lora(f"{file}:0.5") == Lora(path=str(file), scale=0.5)
    assert read_lora(str(file)) == Lora(path=str(file), scale=1.0)
    with pytest.raises(CatalogueError, match="absent is no file"):
        read_lora("absent:0.5")
    with pytest.raises(CatalogueError, match="less than or equal to 4"):
        read_lora(f"{file}:9")
    with pytest.raises(CatalogueError, match="'fp12' is none of fp32"):
        read_precision("fp12")


def test_a_machines_own_entry_may_not_take_a_built_in_name(home: Path) -> None:
    small_model.add(home, name="text_embedding")
    with pytest.raises(
        CatalogueError, match=r"text_embedding\.yaml: name: 'text_embedding' is a built-in model's"
    ):
        read_catalogue(home)


def test_a_licence_is_allowed_for_each_model(home: Path) -> None:
    licence = {"spdx": "CC-BY-NC-4.0", "commercial_use": False, "attribution": "nobody"}
    small_model.add(home, licence=licence)
    weights = small_model.weights(home.parent / "brought")
    refused = built(home, weights=weights)
    assert refused.status is BuildStatus.REFUSED
    for word in ("CC-BY-NC-4.0", "--allow-noncommercial", "VMESH_MODELS_ALLOW_NONCOMMERCIAL"):
        assert word in refused.detail
    repository = home.parent / "repository"
    site = Site(home, repository=repository, allowed={"another"})
    assert build_one("mine", Order(weights), site).status is BuildStatus.REFUSED
    site = Site(home, repository=repository, allowed={"mine"})
    assert build_one("mine", Order(weights), site).status is BuildStatus.BUILT


def files(**changes: Any) -> OperatorSource:
    source = {"kind": "operator", "layout": "files", "hub": "a/b", "files": [{"path": "model.onnx"}]}
    return OperatorSource.model_validate(source | changes)


def pipeline(directory: Path, **components: list[str]) -> Path:
    (directory / "unet").mkdir(parents=True)
    (directory / "unet" / "config.json").write_text("{}")
    index = {"_class_name": "APipeline", "unet": ["diffusers", "UNet"], "safety_checker": [None, None]}
    (directory / "model_index.json").write_text(json.dumps(index | components))
    return directory


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model\.onnx missing; a/b holds what belongs there"):
        check(files(), tmp_path, tmp_path)
    with pytest.raises(WeightsError, match="is not there; give the directory that a/b publishes"):
        check(files(), tmp_path / "absent", tmp_path)
    with pytest.raises(WeightsError, match=r"model_index\.json missing"):
        check(files(layout="diffusers", files=[]), tmp_path, tmp_path)


def test_a_wrong_digest_and_a_cut_file_are_refused(tmp_path: Path) -> None:
    weights = small_model.weights(tmp_path / "w")
    content = (weights / "model.onnx").read_bytes()
    right = {"path": "model.onnx", "sha256": hashlib.sha256(content).hexdigest()}
    check(files(files=[right]), weights, tmp_path)
    (weights / "model.onnx").write_bytes(content[:-1])
    with pytest.raises(
        WeightsError, match=f"the catalogue says {right['sha256']}: it is another file .* cut short"
    ):
        check(files(files=[right]), weights, tmp_path)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    weights = tmp_path / "w"
    weights.mkdir()
    (weights / "model.onnx").symlink_to(tmp_path / "secret")
    with pytest.raises(WeightsError, match=f"is a link to {tmp_path}/secret, outside {weights}"):
        check(files(), weights, tmp_path)


def test_a_folder_that_leads_out_is_refused(tmp_path: Path) -> None:
    elsewhere = pipeline(tmp_path / "elsewhere")
    directory = pipeline(tmp_path / "w")
    shutil.rmtree(directory / "unet")
    (directory / "unet").symlink_to(elsewhere / "unet")
    with pytest.raises(WeightsError, match="is a link to"):
        check(files(layout="diffusers", files=[]), directory, tmp_path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    directory = pipeline(tmp_path / "w")
    place = directory / "unet" / "model.safetensors"
    for make in (os.mkfifo, os.mkdir, lambda path: path.symlink_to("absent.safetensors")):
        make(place)
        with pytest.raises(WeightsError, match=r"unet/model\.safetensors: is no file, or a link to none"):
            check(files(layout="diffusers", files=[]), directory, tmp_path)
        place.rmdir() if place.is_dir() else place.unlink()


def test_a_hubs_cache_of_links_is_taken_as_it_is(tmp_path: Path) -> None:
    """A downloaded snapshot is a folder of links to blobs beside it."""
    root = tmp_path / "models--a--b"
    small_model.weights(root / "blobs")
    snapshot = root / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "model.onnx").symlink_to("../../blobs/model.onnx")
    check(files(), snapshot, tmp_path)


@pytest.mark.parametrize("name", ["../unet", "/etc", "a b"])
def test_a_component_with_a_path_for_a_name_is_refused(tmp_path: Path, name: str) -> None:
    directory = pipeline(tmp_path / "w", **{name: ["diffusers", "UNet"]})
    with pytest.raises(WeightsError, match="is no name of a component"):
        check(files(layout="diffusers", files=[]), directory, tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"unet": ["a", "b"]}'])
def test_an_index_that_is_none_says_so(tmp_path: Path, content: str) -> None:
    directory = pipeline(tmp_path / "w")
    (directory / "model_index.json").write_text(content)
    with pytest.raises(WeightsError, match=r"model_index\.json"):
        check(files(layout="diffusers", files=[]), directory, tmp_path)


def test_only_what_is_read_counts(tmp_path: Path) -> None:
    """A published directory holds the same weights five times over; pickles among them are never read."""
    directory = pipeline(tmp_path / "w")
    (directory / "unet" / "model.bin").write_bytes(pickle.dumps(Touch(tmp_path / "it-ran")))
    (directory / "all-in-one.safetensors").write_bytes(b"x")
    (directory / "refiner").mkdir()
    pipeline(directory / "refiner" / "x")
    shutil.move(str(directory / "refiner" / "x" / "model_index.json"), directory / "refiner")
    shutil.move(str(directory / "refiner" / "x" / "unet"), directory / "refiner")
    source = files(layout="diffusers", files=[])
    names = [str(path.relative_to(directory)) for path in files_of(source, directory)]
    assert names == [
        "model_index.json",
        "refiner/model_index.json",
        "refiner/unet/config.json",
        "unet/config.json",
    ]
    check(source, directory, tmp_path)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"a": "../../elsewhere/model.safetensors"}}, r"names '\.\./\.\./elsewhere"),
        ({"weight_map": {"a": "/elsewhere/model.safetensors"}}, "names '/elsewhere"),
        ({"weight_map": {"a": "model.bin"}}, r"names 'model\.bin'; its weights must be \.safetensors"),
        ({"weight_map": {"a": 1}}, "names '1'"),
        ({"weight_map": ["a"]}, "names no files"),
        ([], "names no files"),
    ],
)
@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_an_index_of_files_that_names_others_is_refused(
    tmp_path: Path, index: object, message: str, variant: str
) -> None:
    directory = pipeline(tmp_path / "w")
    told = directory / "unet" / f"diffusion_pytorch_model.safetensors.index{variant}.json"
    told.write_text(json.dumps(index))
    source = files(layout="diffusers", files=[])
    with pytest.raises(WeightsError, match=message):
        check(source, directory, tmp_path)
    told.write_text(json.dumps({"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}))
    check(source, directory, tmp_path)


def test_a_lying_file_in_a_pipeline_is_refused(tmp_path: Path) -> None:
    directory = pipeline(tmp_path / "w")
    (directory / "unet" / "model.safetensors").write_bytes(b"\xff" * 200)
    with pytest.raises(UnsafeFileError, match=r"model\.safetensors: its header does not describe"):
        check(files(layout="diffusers", files=[]), directory, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pth", None, "is not there; give the checkpoint file"),
        ("a.txt", b"x" * 100, "is no checkpoint; one ends in .safetensors, .pth"),
        ("a.pth", b"x", "has 1 bytes, no checkpoint has"),
    ],
)
def test_what_is_no_checkpoint_is_refused(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        check(files(layout="checkpoint", files=[{"path": "b.pth"}]), tmp_path / name, tmp_path)


def test_a_checkpoint_that_runs_something_is_refused_before_anything_is_made(home: Path) -> None:
    source = {"kind": "operator", "layout": "checkpoint", "hub": "a/b"}
    small_model.add(home, source=source)
    bad, marker = home.parent / "bad.pth", home.parent / "it-ran"
    bad.write_bytes(pickle.dumps({"weights": Touch(marker), "padding": "x" * 100}))
    outcome = built(home, weights=bad)
    assert outcome.status is BuildStatus.FAILED
    assert "bad.pth: wants to run posix.system" in outcome.detail
    assert not marker.exists()
    assert not (served_repository(home) / "mine").exists()
    assert not list((home / "builds").glob("mine/*"))
