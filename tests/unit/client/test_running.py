"""The file that says where a mesh is."""

import os
import subprocess
import sys

import pytest

from scrollintel.visual import running
from scrollintel.visual.cli import mesh as finding
from scrollintel.visual.exceptions import MeshUnavailableError
from tests.unit.client.scripted import Script, playing

MESH = running.RunningMesh(
    os.getpid(), "127.0.0.1:5", {"gateway": "127.0.0.1:5"}, "127.0.0.1:6", "2026-11-22T20:00:00Z"
)


def test_it_is_read_back_and_removed(tmp_path):
    running.write(tmp_path / "home", MESH)
    assert running.read(tmp_path / "home") == MESH
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["mesh.json"]
    running.remove(tmp_path / "home", MESH.pid)
    assert running.read(tmp_path / "home") is None
    running.remove(tmp_path / "home", MESH.pid)


def test_another_process_does_not_remove_it(tmp_path):
    running.write(tmp_path, MESH)
    running.remove(tmp_path, MESH.pid + 1)
    assert running.read(tmp_path) == MESH


def test_one_whose_process_is_gone_is_no_mesh(tmp_path):
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    running.write(tmp_path, running.RunningMesh(int(gone.stdout), "127.0.0.1:5", {}, "", ""))
    assert running.read(tmp_path) is None


REST = '"gateway": "", "servers": {}, "triton": "", "started_at": ""'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"pid": 1}',
        '{"pid": 1, "gateway": "", "other": 2}',
        f'{{"pid": "1", {REST}}}',
        f'{{"pid": 0, {REST}}}',
        f'{{"pid": {10**20}, {REST}}}',
    ],
)
def test_a_damaged_file_is_no_mesh(tmp_path, text):
    (tmp_path / "mesh.json").write_text(text)
    assert running.read(tmp_path) is None


async def test_health_tells_serving_unknown_and_silence():
    async with playing(Script()) as address:
        assert await running.health(address) is True
        assert await running.health(address, "scrollintel.visual.v1.NoService") is False
    assert await running.health(address, timeout=1) is None


async def test_the_mesh_that_is_named_must_answer(tmp_path):
    with pytest.raises(MeshUnavailableError, match=r"127\.0\.0\.1:1"):
        await finding.find("127.0.0.1:1", tmp_path)


async def test_the_mesh_of_this_home_is_found(tmp_path):
    async with playing(Script()) as address:
        running.write(tmp_path, running.RunningMesh(os.getpid(), address, {"gateway": address}, "", ""))
        assert await finding.find(None, tmp_path) == address
        assert finding.servers(address, tmp_path) == {"gateway": address}
