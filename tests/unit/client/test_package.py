"""The client alone: it builds by itself and needs nothing of the servers."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from scrollintel.visual.version import __version__

ROOT = Path(__file__).resolve().parents[3]
CLIENT = ROOT / "clients" / "python"
LIGHT = {"google", "grpc", "typing_extensions", "buf", "scrollintel"}
# grpc itself imports these where they are installed.
BESIDE_GRPC = {"grpc_health", "grpc_reflection", "grpc_tools", "cython_runtime"}

IMPORT = """
import importlib.abc, json, sys
class Wall(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("services", "router", "numpy", "rich", "typer", "tritonclient"):
            raise ImportError("the client reached for " + name)
sys.meta_path.insert(0, Wall())
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
import scrollintel.visual
tops = {name.split(".")[0] for name in set(sys.modules) - before}
print(json.dumps([scrollintel.visual.__file__, sorted(tops - sys.stdlib_module_names)]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=CLIENT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_imports_without_servers_and_without_heavy_packages(wheel):
    run = subprocess.run(
        [sys.executable, "-I", "-c", IMPORT, str(wheel)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    file, tops = json.loads(run.stdout)
    assert Path(file).is_relative_to(wheel)
    assert {top for top in tops if not top.startswith("_")} <= LIGHT | BESIDE_GRPC


def test_the_wheel_says_what_it_is(wheel):
    metadata = (wheel / f"visual_mesh_client-{__version__}.dist-info" / "METADATA").read_text()
    required = [line.split(": ", 1)[1] for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    always = {re.split("[<>=]", line)[0] for line in required if "extra ==" not in line}
    assert always == {"googleapis-common-protos", "grpcio", "protobuf"}
    assert (wheel / "scrollintel" / "visual" / "py.typed").exists()
    assert (wheel / "scrollintel" / "visual" / "v1" / "generation_pb2.pyi").exists()
    assert not (wheel / "services").exists()


def test_client_and_mesh_have_one_version():
    mesh = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert mesh["project"]["version"] == __version__
