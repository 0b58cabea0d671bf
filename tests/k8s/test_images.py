"""The images' contents against the code: neither can be built where there is no container engine."""

import ast
import re
import sys
import tomllib
from pathlib import Path

from services.models.catalogue import get_model
from services.models.entry import RepositorySource
from tools.k8s.manifests import Manifests
from tools.k8s.render import ROOT

DOCKER = ROOT / "deploy" / "docker"
FROM_TRITON = {"triton_python_backend_utils"}
PACKAGES = {
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "tokenizers": "tokenizers",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
}


def pins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^\s*([\w.-]+)==([\w.]+)", text, flags=re.MULTILINE))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_triton_image_has_what_the_models_import() -> None:
    wanted = set()
    serving = list((ROOT / "services" / "models" / "serving").glob("[!_]*.py"))
    copied = {each.stem for each in serving}  # a build puts them beside the model's own code
    for path in [*(ROOT / "model_repository").glob("*/1/*.py"), *serving]:
        beside = {each.stem for each in path.parent.glob("*.py")} | copied
        wanted |= imports(path) - beside - FROM_TRITON - sys.stdlib_module_names
    assert wanted, "no model code was found"
    assert {PACKAGES[name] for name in wanted} == set(pins((DOCKER / "triton.Dockerfile").read_text()))


def test_triton_image_has_the_projects_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ours = pins("\n".join(project))
    image = pins((DOCKER / "triton.Dockerfile").read_text())
    assert image == {name: ours[name] for name in image}


def test_server_image_copies_what_the_wheel_is_made_of() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    allowed = {
        line[1:]
        for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert sources == allowed
    for package in tool["packages"]:
        assert any(Path(package).is_relative_to(source) for source in sources), (
            f"{package} is not in the image"
        )


def test_server_image_holds_the_calibration_that_quality_reads(manifests: Manifests) -> None:
    quality = manifests.servers()["quality"]
    path = Path(manifests.environment(quality)["VMESH_QUALITY_CALIBRATION"])
    text = (DOCKER / "Dockerfile").read_text()
    python = re.findall(r"^FROM python:(3\.\d+)-", text, flags=re.MULTILINE)
    assert len(set(python)) == 1
    assert "COPY --from=build /opt/visual-mesh /opt/visual-mesh" in text
    inside = path.relative_to(f"/opt/visual-mesh/lib/python{python[0]}/site-packages/model_repository")
    source = get_model(inside.parts[0]).source
    assert isinstance(source, RepositorySource)
    assert Path(*inside.parts[1:]).as_posix() in {file.path for file in source.files}
