"""What is measured of processes, of the machine, of a container and of a GPU; and what a warm-up is read from."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from services.models.cache import memory
from services.models.cache.memory import MEBIBYTE, Meter, choose, device_bytes, on_device, ram_bytes, resident
from services.models.cache.warmup import read_feed
from services.runtime.errors import MeshError

HOLD = "import sys; held = bytearray(64 << 20); held[::4096] = b'x' * len(held[::4096]); print(flush=True); sys.stdin.read()"


def test_resident_memory_is_what_a_process_holds() -> None:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        child.stdout.readline()
        held = resident([child.pid, 2**22 + 1])
        child.communicate()
    assert set(held) == {child.pid}
    assert 64 * MEBIBYTE <= held[child.pid] < 96 * MEBIBYTE


def test_a_containers_limit_is_less_than_the_machines_memory(tmp_path: Path) -> None:
    machine = ram_bytes(tmp_path)
    assert machine == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = tmp_path / "sys/fs/cgroup/memory.max"
    limit.parent.mkdir(parents=True)
    limit.write_text("max\n")
    assert ram_bytes(tmp_path) == machine
    limit.write_text(f"{512 * MEBIBYTE}\n")
    assert ram_bytes(tmp_path) == 512 * MEBIBYTE


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """NVIDIA's tool as it answers on a machine of two GPUs."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        "--query-gpu=memory.total) printf '81920\\n40960\\n';;\n"
        "--query-compute-apps=pid,used_memory) printf '11, 300\\n12, 500\\n11, 20\\n13, [N/A]\\n';;\n"
        "*) exit 2;;\nesac\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    return tool


def test_where_there_are_gpus_the_smallest_is_the_budget(smi: Path) -> None:
    assert device_bytes() == 40960 * MEBIBYTE
    assert on_device([11, 13]) == {11: 320 * MEBIBYTE}
    budget, meter = choose(None, None)
    assert budget == int(40960 * MEBIBYTE * memory.GPU_SHARE)
    assert meter.held is on_device


def test_a_tool_without_a_driver_is_no_gpu(smi: Path) -> None:
    smi.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert device_bytes() == 0
    budget, meter = choose(None, None)
    assert budget == int(ram_bytes() * memory.RAM_SHARE)
    assert meter.held is resident


def test_the_budget_that_is_given_counts() -> None:
    assert choose(123, None)[0] == 123 * MEBIBYTE


@pytest.mark.parametrize("text", ["", "no number", "4194305"], ids=["empty", "rubbish", "nobody"])
def test_without_a_process_nothing_is_measured(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pid"
    assert Meter(None, resident).measure() is None
    assert Meter(file, resident).measure() is None
    file.write_text(text)
    assert Meter(file, resident).measure() is None


def test_a_feed_is_read_without_running_anything(tmp_path: Path) -> None:
    version = tmp_path / "a" / "1"
    version.mkdir(parents=True)
    assert read_feed(tmp_path, "a") is None
    np.savez(version / "warmup.npz", prompt=np.array(["a cat"]), seeds=np.array([1, 2], np.int64))
    feed = read_feed(tmp_path, "a")
    assert feed is not None
    assert feed["prompt"].dtype == np.object_
    assert feed["prompt"].tolist() == ["a cat"]
    assert feed["seeds"].dtype == np.int64
    np.savez(version / "warmup.npz", allow_pickle=True, prompt=np.array([object()], dtype=object))
    with pytest.raises(MeshError, match="pickle"):
        read_feed(tmp_path, "a")
