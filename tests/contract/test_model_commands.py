"""`vmesh models ...` as it is typed: without a mesh from the disk, and asking a real model server."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from scrollintel.visual import running
from services.local import model_table
from services.local.commands import models
from services.models import build_command
from services.models.build import BuildStatus, Outcome, Site, build_one
from services.models.order import Order
from services.models.presence import served_repository
from services.models.service import spec
from services.models.settings import Settings
from services.runtime.server import serve
from tests.models import small_model

NOBODY = "127.0.0.1:1"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one model of its own, built, and one that forbids commercial use and is not."""
    small_model.repository(tmp_path / "repository")
    home = tmp_path / "home"
    small_model.add(home)
    licence = {"spdx": "CC-BY-NC-4.0", "commercial_use": False, "attribution": "nobody"}
    small_model.add(home, name="theirs", licence=licence)
    site = Site(home, repository=tmp_path / "repository")
    assert build_one("mine", Order(small_model.weights(tmp_path / "w")), site).status is BuildStatus.BUILT
    return home


def vmesh(home: Path, *words: str) -> Result:
    return CliRunner().invoke(models, [words[0], *words[1:], "--home", str(home)])


def row(result: Result, name: str) -> str:
    return next(line for line in result.output.splitlines() if f" {name} " in f" {line} ")


def test_list_reads_the_disk_where_no_mesh_runs(home: Path) -> None:
    result = vmesh(home, "list")
    assert result.exit_code == 0
    assert row(result, "mine").split() == ["denoise", "mine", "loadable", "10", "MiB", "MIT"]
    assert row(result, "theirs").split()[2:] == ["needs", "weights", "10", "MiB", "CC-BY-NC-4.0", "nc"]
    assert "nc not for commercial use" in result.output
    assert (
        "  vmesh models build theirs --allow-noncommercial --weights DIR   "
        "# DIR: hf download somebody/something --local-dir DIR\n"
    ) in result.output
    assert "  vmesh models build sdxl --weights DIR   # DIR: hf download stabilityai/" in result.output
    assert "no mesh runs; this is what lies on the disk" in result.output


def test_a_narrow_terminal_folds_no_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_table, "PIPE_COLUMNS", 80)
    listed, verified = vmesh(home, "list"), vmesh(home, "verify")
    assert "\nface-restoration" in listed.output  # a line of its own
    assert row(listed, "face_restoration_codeformer-test").split()[1:3] == ["not", "built"]
    assert row(verified, "mine").split()[1] == "model"
    assert "against ONNX Runtime" in verified.output
    table = listed.output.partition("\nnc ")[0]
    assert max(map(len, table.splitlines())) <= 80


def test_list_as_json(home: Path) -> None:
    told = json.loads(vmesh(home, "list", "--json").output)
    assert told["source"] == "disk"
    (mine,) = [model for model in told["models"] if model["model"] == "mine"]
    assert mine == {
        "task": "denoise",
        "model": "mine",
        "state": "loadable",
        "memory": 10 << 20,
        "licence": "MIT",
        "commercial_use": True,
        "remedy": "",
    }


def test_an_entry_that_is_wrong_is_named(home: Path) -> None:
    (home / "catalogue" / "broken.yaml").write_text("name: broken")
    result = vmesh(home, "list")
    assert result.exit_code == 1
    assert "broken.yaml: title: Field required" in result.output


def test_show_tells_an_entry_whole(home: Path) -> None:
    output = vmesh(home, "show", "mine").output
    for words in ("A model of one's own", "loadable", "layout: files", "hub: somebody/something"):
        assert words in output
    assert "1/model.onnx" in output
    assert "ONNX Runtime" in output
    told = json.loads(vmesh(home, "show", "mine", "--json").output)
    assert told["entry"]["memory_mib"] == 10
    assert len(told["files"]["1/model.onnx"]) == 64
    assert told["parity"][0]["component"] == "model"
    assert told["parity"][0]["error"] <= told["parity"][0]["tolerance"]
    assert vmesh(home, "show", "juggler").exit_code == 2


def test_verify_runs_what_is_built(home: Path) -> None:
    result = vmesh(home, "verify")
    assert result.exit_code == 0, result.output
    assert "equal" in row(result, "mine")
    assert "files as they were built: 1 of 1 models" in result.output
    told = json.loads(vmesh(home, "verify", "mine", "--json").output)
    assert told["mine"]["components"][0]["passed"]


def test_verify_fails_for_a_graph_that_computes_something_else(home: Path) -> None:
    (served_repository(home) / "mine" / "1" / "model.onnx").write_bytes(small_model.graph(2.5))
    result = vmesh(home, "verify", "mine")
    assert result.exit_code == 1
    assert "DIFFERS" in row(result, "mine")
    assert "1/model.onnx: is not the file that was built" in result.output


def test_verify_fails_for_a_file_that_was_touched_though_all_agree(home: Path) -> None:
    (served_repository(home) / "mine" / "1" / "model.py").write_text("import os")
    result = vmesh(home, "verify")
    assert result.exit_code == 1
    assert "equal" in row(result, "mine")
    assert "1/model.py: is not the file that was built" in result.output


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("parity/model.npz", b"PK\x03\x04 cut short", "mine/model: model: its arrays: "),
        ("parity/index.json", b"{", "mine: parity/index.json: cannot be read: "),
        ("manifest.json", b"[]", "manifest.json cannot be read"),
    ],
)
def test_verify_tells_of_a_damaged_build_and_of_the_way_out(
    home: Path, name: str, content: bytes, message: str
) -> None:
    (served_repository(home) / "mine" / name).write_bytes(content)
    result = vmesh(home, "verify")
    assert result.exit_code == 1, result.output
    assert message in result.output
    assert "make it anew: rm -r " in result.output
    told = vmesh(home, "verify", "--json")
    assert json.loads(told.output, parse_constant=pytest.fail)["mine"]["files"]
    assert vmesh(home, "show", "mine").exit_code == 0


@pytest.mark.parametrize("words", [[], ["mine"], ["--json"]])
def test_verify_passes_no_build_that_does_not_say_what_it_is(home: Path, words: list[str]) -> None:
    (served_repository(home) / "mine" / "entry.json").write_text("{")
    result = vmesh(home, "verify", *words)
    assert result.exit_code == 1, result.output
    assert "mine: entry.json cannot be read" in result.output
    assert "vmesh models build mine" in result.output


def test_the_way_out_allows_the_licence_again(home: Path) -> None:
    site = Site(home, repository=home.parent / "repository", allowed={"theirs"})
    build_one("theirs", Order(small_model.weights(home.parent / "w")), site)
    (served_repository(home) / "theirs" / "1" / "model.py").write_text("import os")
    assert "&& vmesh models build theirs --allow-noncommercial\n" in vmesh(home, "verify").output


def test_verify_of_what_is_not_built_says_so(home: Path) -> None:
    result = vmesh(home, "verify", "theirs")
    assert result.exit_code == 2
    assert "theirs: not built; there are: mine" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "/x"], "are for one model at a time; none named"),
        (["mine", "theirs", "--precision", "fp16"], "are for one model at a time; 2 named"),
        (["mine", "--precision", "fp12"], "--precision: 'fp12' is none of fp32, fp16"),
        (["mine", "--lora", "absent.safetensors"], "absent.safetensors is no file"),
        (["juggler"], "no model named 'juggler'"),
        (["mine", "--name", "A B"], "--name: String should match pattern"),
        (["--target", "tensorrt"], "are for one model at a time; none named"),
        (["mine", "--sm", "89"], "--sm: is for engines: --target tensorrt"),
    ],
)
def test_build_names_the_option_that_cannot_be(home: Path, words: list[str], message: str) -> None:
    result = vmesh(home, "build", *words)
    assert result.exit_code == 2
    assert message in result.output.replace("\n", " ")


def test_build_says_that_a_home_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = vmesh(tmp_path / "file" / "home", "build", "interpolation_flow")
    assert result.exit_code == 2
    assert "Not a directory" in result.output


def test_build_refuses_a_licence_until_it_is_allowed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = vmesh(home, "build", "theirs")
    assert result.exit_code == 1
    assert "CC-BY-NC-4.0, forbids commercial use" in result.output
    monkeypatch.setenv("VMESH_MODELS_ALLOW_NONCOMMERCIAL", "another, theirs")
    result = vmesh(home, "build", "theirs")
    assert result.exit_code == 1
    assert "needs weights" in result.output
    assert "vmesh models build theirs --allow-noncommercial --weights DIR" in result.output


def test_build_stopped_by_the_keyboard_says_what_is_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build_command, "build_one", interrupt)
    result = vmesh(home, "build", "mine")
    assert result.exit_code == 130
    assert "nothing half-built was left" in result.output


def test_export_copies_the_graphs(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = vmesh(home, "export", "mine", "--target", "onnx", "--output", str(out))
    assert result.exit_code == 0, result.output
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == {
        "model.onnx",
        "parity/index.json",
        "parity/model.npz",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["theirs", "--target", "onnx", "-o", "x"], "theirs is not built; first: vmesh models build theirs"),
        (["mine", "--target", "onnx"], "--output: name the folder"),
        (["mine", "-o", "x"], "--output: engines go beside the graphs"),
        (["mine", "--target", "onnx", "-o", __file__], "File exists"),
        (
            ["mine", "--target", "onnx", "-o", "x", "--precision", "fp16"],
            "are for engines: --target tensorrt",
        ),
        (["mine", "--target", "onnx", "-o", "x", "--sm", "89"], "are for engines: --target tensorrt"),
        (["theirs"], "theirs is not built"),
        (["mine", "--precision", "fp12"], "--precision: 'fp12' is none of fp32"),
    ],
)
def test_export_says_what_it_lacks(home: Path, words: list[str], message: str) -> None:
    result = vmesh(home, "export", *words)
    assert result.exit_code == 2, result.output
    assert message in result.output


def test_export_builds_a_real_engine_and_verify_says_where_it_can_be_proved(home: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    result = vmesh(home, "export", "mine", "--sm", "89", "--precision", "fp16")
    assert result.exit_code == 0, result.output
    assert row(result, "model").split()[1:6] == ["sm89", "tensorrt_rtx", "1.7.1.116", "fp16", "built"]
    verified = vmesh(home, "verify", "mine")
    assert verified.exit_code == 0, verified.output
    assert "engines of mine" in verified.output
    assert "needs a GPU of sm89 to verify" in verified.output
    refused = vmesh(home, "export", "mine", "--sm", "75", "--precision", "bf16")
    assert refused.exit_code == 1
    assert "bf16 needs compute capability 8.0" in refused.output


@pytest.mark.parametrize("command", ["load", "unload"])
def test_loading_needs_a_mesh(home: Path, command: str) -> None:
    result = vmesh(home, command, "mine")
    assert result.exit_code == 8
    assert "no mesh runs here; start one: vmesh up" in result.output


@pytest.fixture
async def meshed(home: Path) -> AsyncIterator[Path]:
    """The home of a running model server, without a Triton behind it."""
    async with serve(spec(Settings(home=home, triton_address=NOBODY, restart_seconds=0.2))) as server:
        mesh = running.RunningMesh(os.getpid(), server.address, {"models": server.address}, NOBODY, "now")
        running.write(home, mesh)
        yield home


async def test_list_asks_the_mesh_that_runs(meshed: Path) -> None:
    result = await asyncio.to_thread(vmesh, meshed, "list")
    assert row(result, "mine").split()[:3] == ["denoise", "mine", "loadable"]
    assert "told by the mesh at " in result.output
    output = (await asyncio.to_thread(vmesh, meshed, "list", "--json")).output
    told = json.loads(output[output.index("{\n") :])  # the server, in this process, logs before it
    assert told["source"] == "mesh"


async def test_building_anew_says_what_the_mesh_that_runs_still_has(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = [Outcome(name, BuildStatus.BUILT) for name in ("mine", "theirs")]
    monkeypatch.setattr(build_command, "build_repository", lambda *_, **__: outcomes)
    told = "what it has in memory stays as it was"
    assert told not in vmesh(home, "build").output
    running.write(home, running.RunningMesh(os.getpid(), NOBODY, {}, NOBODY, "now"))
    assert (
        f"\nmine: a mesh runs here, and {told}" in vmesh(home, "build").output
    )  # theirs was not there before


async def test_a_mesh_that_does_not_answer_is_no_reason_to_say_nothing(home: Path) -> None:
    running.write(home, running.RunningMesh(os.getpid(), NOBODY, {}, NOBODY, "now"))
    result = await asyncio.to_thread(vmesh, home, "list")
    assert result.exit_code == 0
    assert "does not answer" in result.output
    assert row(result, "mine").split()[:3] == ["denoise", "mine", "loadable"]


async def test_a_refused_load_reads_like_a_refused_generation(meshed: Path) -> None:
    result = await asyncio.to_thread(vmesh, meshed, "load", "mine")
    assert result.exit_code == 4, result.output
    assert "Triton" in result.output
    result = await asyncio.to_thread(vmesh, meshed, "load", "juggler")
    assert result.exit_code == 7
    result = await asyncio.to_thread(vmesh, meshed, "unload", "text_embedding")
    assert result.exit_code == 3
    assert "pinned" in result.output
