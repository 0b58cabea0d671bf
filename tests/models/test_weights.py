"""Files of weights that somebody brought: what is read, what is refused, and that nothing of it runs."""

import argparse
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from services.models.pickles import UnsafeFileError
from services.models.weights import check_file, read_tensors, unwrap

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

TENSORS = {"a.weight": [[1.0, 2.0], [3.0, 4.0]], "b": [5.0]}


class Touch:
    """Unpickling one makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def tensors() -> dict[str, Any]:
    return {name: torch.tensor(values) for name, values in TENSORS.items()}


def same(read: dict[str, Any], prefix: str = "") -> bool:
    return {name: value.tolist() for name, value in read.items()} == {
        prefix + name: values for name, values in TENSORS.items()
    }


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".bin", ".pkl"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_of_tensors_is_read(tmp_path: Path, suffix: str, zipped: bool) -> None:
    path = tmp_path / f"model{suffix}"
    torch.save(tensors(), path, _use_new_zipfile_serialization=zipped)
    assert same(read_tensors(path))


def test_safetensors_are_read_in_the_type_they_have(tmp_path: Path) -> None:
    safetensors.save_file(
        {name: value.to(torch.bfloat16) for name, value in tensors().items()}, tmp_path / "m.safetensors"
    )
    read = read_tensors(tmp_path / "m.safetensors")
    assert same(read)
    assert {value.dtype for value in read.values()} == {torch.bfloat16}


def test_nested_names_are_joined_and_taken_apart_again(tmp_path: Path) -> None:
    torch.save({"params_ema": tensors(), "epoch": 3, "params": {"a": torch.zeros(1)}}, tmp_path / "m.pth")
    read = read_tensors(tmp_path / "m.pth")
    assert set(read) == {"params_ema.a.weight", "params_ema.b", "params.a"}
    assert same(unwrap(read, ("params_ema", "params")))
    assert set(unwrap(read, ("params", "params_ema"))) == {"a"}
    assert unwrap(read, ("state_dict",)) == read


def test_parameters_and_numbers_beside_the_weights_do_no_harm(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)
    torch.save({"state_dict": module.state_dict(), "loss": 0.5, "p": module.weight}, tmp_path / "m.pth")
    assert set(read_tensors(tmp_path / "m.pth")) == {"state_dict.weight", "state_dict.bias", "p"}


def test_what_a_training_run_leaves_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"state_dict": tensors(), "args": argparse.Namespace(a=1)}, tmp_path / "m.ckpt")
    with pytest.raises(UnsafeFileError, match=r"wants to run argparse\.Namespace; .* as \.safetensors"):
        read_tensors(tmp_path / "m.ckpt")


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
def test_a_pickle_that_wants_to_run_something_is_refused_and_does_not(
    tmp_path: Path, form: str, protocol: int
) -> None:
    marker, path = tmp_path / "it-ran", tmp_path / "model.pth"
    content = {"a": torch.zeros(2), "b": Touch(marker)}
    if form == "bare":
        path.write_bytes(pickle.dumps(Touch(marker), protocol))
    else:
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=form == "zip")
    for read in (check_file, read_tensors):
        with pytest.raises(
            UnsafeFileError, match=r"model\.pth: wants to run posix\.system; .*It was not read"
        ):
            read(path)
    assert not marker.exists()
    if form == "bare":  # the bait is live: without the scan it runs
        pickle.loads(path.read_bytes())
        assert marker.exists()


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"(S'true'\nios\nsystem\n.", "os.system"),
        (b"\x80\x04\x8c\x08builtins\x94\x8c\x04eval\x94\x93.", "builtins.eval"),
        # module and name by way of the memo
        (b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93.", "os.system"),
        (b"\x80\x02\x82\x07.", "extension 7 of copyreg"),
        # more than is printed: a harmless one first
        (b"ccollections\nOrderedDict\n0cposix\nsystem\n.", "posix.system"),
        (b"\x80\x04\x8c\x02os\x8c\x03sys\x8c\x03tem\x93.", "sys.tem"),
    ],
)
def test_whatever_way_a_pickle_names_it(tmp_path: Path, payload: bytes, named: str) -> None:
    (tmp_path / "m.bin").write_bytes(payload + b" " * 64)
    with pytest.raises(UnsafeFileError, match=f"wants to run {named}"):
        check_file(tmp_path / "m.bin")


def test_a_name_that_is_made_up_on_the_way_is_refused(tmp_path: Path) -> None:
    """Here module and name come off the stack after a POP: what they are depends on running it."""
    (tmp_path / "m.bin").write_bytes(b"\x80\x04\x8c\x02os\x8c\x06system\x8c\x01x0\x93.")
    with pytest.raises(UnsafeFileError, match="cannot be read without running it"):
        check_file(tmp_path / "m.bin")


def test_a_second_pickle_in_the_archive_is_looked_at_too(tmp_path: Path) -> None:
    path, marker = tmp_path / "m.pt", tmp_path / "it-ran"
    torch.save(tensors(), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("m/other.pkl", pickle.dumps(Touch(marker)))
    with pytest.raises(UnsafeFileError, match=r"posix\.system"):
        read_tensors(path)


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(tensors(), path)
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        content = archive.read(name)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(name, content)
    with pytest.raises(UnsafeFileError, match="two members of one name"):
        read_tensors(path)


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", b"\0" * (1 << 26))
    assert path.stat().st_size < 1 << 17
    with pytest.raises(UnsafeFileError, match=r"bytes that unpack to 67108864: a zip bomb"):
        read_tensors(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_checkpoint_says_so(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "m.pth"
    torch.save({"a": torch.zeros(4096)}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnsafeFileError, match=r"m\.pth: (is cut short or damaged|torch cannot read it)"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no pickle"),
        (b"<!DOCTYPE html><html>", "is no pickle"),
        (pickle.dumps({"a": 1}), "neither a checkpoint of torch's nor .safetensors"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "is no pickle"),
        (b"\x8d" + struct.pack("<Q", 1 << 60) + b"x", "is no pickle"),  # a string of an exbibyte
    ],
)
def test_what_is_no_checkpoint_says_so(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m.bin").write_bytes(content)
    with pytest.raises(UnsafeFileError, match=message):
        read_tensors(tmp_path / "m.bin")


@pytest.mark.parametrize(
    ("offset", "value", "why"),
    [
        ((4, 6), 99, "zip file version"),
        ((6, 8), 1, "encrypted"),
        ((8, 10), 99, "compression method is not supported"),
    ],
)
def test_an_archive_of_a_kind_that_cannot_be_read_says_so(
    tmp_path: Path, offset: tuple[int, int], value: int, why: str
) -> None:
    path = tmp_path / "m.pt"
    torch.save(tensors(), path)
    content = bytearray(path.read_bytes())
    (name,) = [name for name in zipfile.ZipFile(path).namelist() if name.endswith("data.pkl")]
    # Both headers of the pickle say the same of it, each in a place of its own.
    content[content.find(name.encode()) - 30 + offset[0]] = value
    content[content.rfind(name.encode()) - 46 + offset[1]] = value
    path.write_bytes(content)
    with pytest.raises(UnsafeFileError, match=rf"m\.pt: is cut short or damaged: .*{why}"):
        check_file(path)


def test_an_archive_whose_compressed_bytes_are_damaged_says_so(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    random = os.urandom(4096)  # does not shrink, so it is no bomb
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", pickle.dumps(random))
    content = bytearray(path.read_bytes())
    content[len("m/data.pkl") + 30] = 0xFF  # a block of a type that deflate has not
    path.write_bytes(content)
    with pytest.raises(UnsafeFileError, match="is cut short or damaged"):
        check_file(path)


def test_an_archive_that_is_no_checkpoint_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UnsafeFileError, match=r"without data\.pkl"):
        check_file(tmp_path / "m.pt")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_program_of_torchs_own_kind_is_refused(tmp_path: Path) -> None:
    scripted = torch.jit.script(torch.nn.Linear(2, 2))
    torch.jit.save(scripted, tmp_path / "m.pt")
    with pytest.raises(UnsafeFileError, match=r"wants to run __torch__\.torch\.nn\.modules\.linear\.Linear"):
        read_tensors(tmp_path / "m.pt")


def header(tensor: dict[str, Any], data: bytes = b"\0" * 16, length: int | None = None) -> bytes:
    text = json.dumps({"a": tensor}).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


@pytest.mark.parametrize(
    "content",
    [
        header({"dtype": "F32", "shape": [4], "data_offsets": [0, 64]}),  # beyond the end
        header({"dtype": "F32", "shape": [400], "data_offsets": [0, 16]}),  # more than its bytes
        header({"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}),  # bytes of nobody's before it
        header({"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 16]}),
        header({"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, length=1 << 62),
        header({"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, length=3),
        header({"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, data=b"\0" * 9),  # cut short
        header({"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, data=b"\0" * 99),  # more follows
        b"",
        b"\0" * 7,
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(UnsafeFileError, match=r"m\.safetensors: its header does not describe what follows"):
        read_tensors(tmp_path / "m.safetensors")


def test_a_kind_that_is_not_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.h5").write_bytes(b"x" * 100)
    with pytest.raises(UnsafeFileError, match=r"m\.h5: is not of a kind that is read"):
        read_tensors(tmp_path / "m.h5")
