"""The committed rendering is refused as soon as it is behind its sources; the documented overlay renders."""

import re
import shutil
from pathlib import Path

import pytest

from tools.k8s import render
from tools.k8s.manifests import Manifests, main_container


def test_digest_follows_every_file(tmp_path: Path) -> None:
    shutil.copytree(render.BASE, tmp_path / "base")
    before = render.digest_of(tmp_path / "base")
    assert before == render.digest_of(render.BASE)
    (tmp_path / "base" / "mesh.env").open("a").write("# changed\n")
    changed = render.digest_of(tmp_path / "base")
    (tmp_path / "base" / "more.yaml").touch()
    assert len({before, changed, render.digest_of(tmp_path / "base")}) == 3


def test_rendering_behind_its_sources_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "digest_of", lambda _: "0" * 64)
    with pytest.raises(render.RenderError, match="--write"):
        render.read()


def test_edited_rendering_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited = render.ROOT / "deploy" / "k8s" / "rendered" / "base.yaml"
    monkeypatch.setattr(
        render, "build", lambda *_: edited.read_text().replace("runAsNonRoot: true", "runAsNonRoot: false")
    )
    monkeypatch.setattr(render, "kustomize_command", lambda: ["kustomize"])
    with pytest.raises(render.RenderError, match="not what kustomize renders"):
        render.read()


def test_kustomizations_mistake_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = render.kustomize_command()
    if command is None:
        pytest.skip("neither kubectl nor kustomize is installed")
    monkeypatch.setattr(render, "ROOT", tmp_path)
    (tmp_path / "kustomization.yaml").write_text("resources: [absent.yaml]\n")
    with pytest.raises(render.RenderError, match=r"absent\.yaml"):
        render.build(tmp_path, command)


def test_documented_overlay_renders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = render.kustomize_command()
    if command is None:
        pytest.skip("neither kubectl nor kustomize is installed")
    monkeypatch.setattr(render, "ROOT", tmp_path)
    documentation = (render.BASE.parents[2] / "docs" / "06-kubernetes.md").read_text()
    overlay = tmp_path / "overlays" / "ours"
    overlay.mkdir(parents=True)
    shutil.copytree(render.BASE, tmp_path / "base")
    (overlay / "kustomization.yaml").write_text(re.findall(r"```yaml\n(.*?)```", documentation, re.DOTALL)[0])
    (overlay / "media-store.env").write_text("AWS_REGION=eu-west-1\n")
    (overlay / "provider-keys.env").write_text("VMESH_ROUTER_OPENAI_API_KEY=none\n")
    (overlay / "language-model.env").write_text("VMESH_LANGUAGE_MODEL_API_KEY=none\n")
    for name in ("chain.pem", "key.pem", "watermark.key"):
        (overlay / name).write_text("none\n")
    manifests = Manifests(tuple(render.parse(render.build(overlay, command))))
    environments = [manifests.environment(each) for each in manifests.servers().values()]
    assert {each["VMESH_BLOB_URL"] for each in environments} == {"s3://OUR-BUCKET"}
    assert all(each["VMESH_HOME"] for each in environments), "the overlay's map must add to the base's"
    images = {main_container(each)["image"] for each in manifests.of("Deployment")}
    assert images == {"REGISTRY/visual-mesh:0.1.0", "REGISTRY/visual-mesh-triton:0.1.0"}
