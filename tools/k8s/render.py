"""From a kustomization to objects: by kustomize where there is one, else from the rendering that is committed.

No Python or Debian 12 package carries a kustomize of today, so the rendering lies in the repository, where a change
also shows what it does to the cluster. It names the digest of its sources; one that is behind them is refused.
"""

import hashlib
import shutil
import subprocess
from pathlib import Path

import yaml

from tools.k8s.manifests import Manifest

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "deploy" / "k8s" / "base"
RENDERED = ROOT / "deploy" / "k8s" / "rendered" / "base.yaml"
HEADER = "# Rendered from deploy/k8s/base by `python tools/check_k8s.py --write`; never edit. sources: "
RENDER_SECONDS = 60.0


class RenderError(Exception):
    """There is no rendering to be had; the text says why and what to do."""


def kustomize_command() -> list[str] | None:
    """Return the command that renders a folder, or None where neither kustomize nor kubectl is installed."""
    for program, arguments in (("kustomize", ["build"]), ("kubectl", ["kustomize"])):
        if path := shutil.which(program):
            return [path, *arguments]
    return None


def digest_of(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def build(folder: Path, command: list[str]) -> str:
    """Render a folder to YAML. Raises RenderError with kustomize's own words."""
    done = subprocess.run(
        [*command, str(folder)], capture_output=True, text=True, timeout=RENDER_SECONDS, check=False
    )
    if done.returncode != 0:
        raise RenderError(f"{folder.relative_to(ROOT)} does not render: {done.stderr.strip()}")
    return done.stdout


def parse(text: str) -> list[Manifest]:
    """Return the objects of a YAML stream."""
    return [document for document in yaml.safe_load_all(text) if document]


def write() -> None:
    """Render the base anew and store it. Raises RenderError."""
    command = kustomize_command()
    if command is None:
        raise RenderError("rendering needs kubectl or kustomize on the PATH: install one of them")
    RENDERED.parent.mkdir(exist_ok=True)
    RENDERED.write_text(f"{HEADER}{digest_of(BASE)}\n{build(BASE, command)}", encoding="utf-8")


def read() -> list[Manifest]:
    """Return the committed objects. Raises RenderError when the base has changed since they were rendered."""
    text = RENDERED.read_text(encoding="utf-8") if RENDERED.exists() else ""
    if text.partition("\n")[0] != f"{HEADER}{digest_of(BASE)}":
        raise RenderError(
            f"{RENDERED.relative_to(ROOT)} is behind deploy/k8s/base: run `python tools/check_k8s.py --write` "
            "(it needs kubectl or kustomize) and commit the result"
        )
    committed = parse(text)
    command = kustomize_command()
    if command is not None and parse(build(BASE, command)) != committed:
        raise RenderError(
            f"{RENDERED.relative_to(ROOT)} is not what {command[0]} renders: run `python tools/check_k8s.py --write`"
        )
    return committed
