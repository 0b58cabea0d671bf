"""The supervised Triton: a real server with one tiny model, killed in every way that can be thought of."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tritonclient.grpc.aio import InferenceServerClient, InferInput

from services.local.triton import (
    Triton,
    TritonNotInstalledError,
    TritonSettings,
    TritonState,
    TritonUnavailableError,
)
from services.local.triton import install as triton_install
from services.local.triton import server as triton_server
from services.local.triton.guard import descendants
from services.local.triton.launch import Ports, free_ports
from services.local.triton.process import GUARD
from services.runtime.workers import find_workers

CONFIG = """
name: "double"
backend: "python"
max_batch_size: 0
input [ { name: "x" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_INT32 dims: [ 1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
CODE = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        values = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", value * 2)]) for value in values]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    version = tmp_path / "repository" / "double" / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(CONFIG)
    (version / "model.py").write_text(CODE)
    return tmp_path / "repository"


@pytest.fixture
def settings(tmp_path: Path, repository: Path) -> TritonSettings:
    return TritonSettings(tmp_path / "home", repository, grace=1.0, backoff=0.05, probe_every=0.1)


@pytest.fixture
async def running(settings: TritonSettings) -> AsyncIterator[Triton]:
    async with Triton(settings) as triton:
        await triton.wait_ready(30)
        yield triton


async def double(triton: Triton, value: int, client: InferenceServerClient | None = None) -> int:
    used = client or InferenceServerClient(triton.grpc_address)
    tensor = InferInput("x", [1], "INT32")
    tensor.set_data_from_numpy(np.array([value], np.int32))
    try:
        return int((await used.infer("double", [tensor], client_timeout=5)).as_numpy("y")[0])
    finally:
        if client is None:
            await used.close()


async def eventually(holds: Callable[[], bool] | Callable[[], Awaitable[bool]], within: float = 15.0) -> None:
    async with asyncio.timeout(within):
        while True:
            result = holds()
            if result if isinstance(result, bool) else await result:
                return
            await asyncio.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def shared_memory_prefix(triton: int) -> str:
    """What the names of this server's regions begin with; other servers may run on this machine."""
    (worker,) = find_workers(triton)
    region = Path(f"/proc/{worker}/cmdline").read_bytes().decode().split("\0")[2]
    return region[: len("vmesh-") + 12]


def shared_memory(prefix: str) -> list[str]:
    return [path.name for path in Path("/dev/shm").glob(f"{prefix}*")]


async def test_serves_on_loopback_alone_and_leaves_nothing_behind(settings: TritonSettings) -> None:
    async with Triton(settings) as triton:
        assert triton.state is TritonState.STARTING
        await triton.wait_ready(30)
        assert triton.state.value == "ready"
        assert await double(triton, 21) == 42
        assert triton.pid
        family = [triton.pid, *descendants(triton.pid)]
        assert len(family) == 2
        prefix = shared_memory_prefix(triton.pid)
        assert shared_memory(prefix)
        for address in (triton.grpc_address, triton.http_address, triton.metrics_address):
            host, port = address.split(":")
            assert host == "127.0.0.1"
            with pytest.raises(ConnectionRefusedError):  # another address of this very machine
                socket.create_connection(("127.0.0.2", int(port)), timeout=1)
    assert triton.state.value == "stopped"
    assert not any(map(alive, family))
    assert not shared_memory(prefix)


async def test_killed_it_comes_back_at_the_same_address(running: Triton) -> None:
    states: list[TritonState] = []
    forget = running.observe(states.append)
    address, pid = running.grpc_address, running.pid
    assert pid
    client = InferenceServerClient(address)
    assert await double(running, 1, client) == 2
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: TritonState.READY in states)
    assert states == [TritonState.RESTARTING, TritonState.READY]
    assert running.reason == "exited with status 137"
    assert running.grpc_address == address
    assert running.pid != pid
    assert running.restarts == 1

    async def answers() -> bool:  # the channel reconnects by itself
        with contextlib.suppress(Exception):
            return await double(running, 4, client) == 8
        return False

    await eventually(answers)
    await client.close()
    forget()


async def test_a_server_that_hangs_is_replaced(settings: TritonSettings, tmp_path: Path) -> None:
    impatient = TritonSettings(
        settings.home,
        settings.repository,
        grace=0.2,
        backoff=0.05,
        probe_every=0.1,
        probe_timeout=0.5,
        probe_failures=2,
    )
    async with Triton(impatient) as triton:
        await triton.wait_ready(30)
        pid = triton.pid
        assert pid
        os.kill(pid, signal.SIGSTOP)
        await eventually(lambda: triton.restarts == 1)
        assert triton.reason == "did not answer 2 probes in a row"
        assert not alive(pid)
        assert await double(triton, 3) == 6


async def test_a_model_whose_worker_died_is_loaded_again(running: Triton) -> None:
    """Triton itself goes on calling the model ready and fails every request."""
    assert running.pid
    (worker,) = find_workers(running.pid)
    os.kill(worker, signal.SIGKILL)
    await eventually(lambda: running.revivals == 1)
    assert await double(running, 5) == 10
    assert running.restarts == 0
    assert running.state is TritonState.READY


async def test_a_model_unloaded_on_purpose_stays_unloaded(running: Triton) -> None:
    client = InferenceServerClient(running.grpc_address)
    await client.unload_model("double")
    assert running.pid
    pid = running.pid
    await eventually(lambda: not find_workers(pid))
    await asyncio.sleep(0.5)
    assert not find_workers(pid)
    assert running.revivals == 0
    await client.close()


async def test_a_model_that_cannot_load_fails_the_start_with_its_own_words(
    settings: TritonSettings, repository: Path
) -> None:
    (repository / "double" / "1" / "model.py").write_text("import a_package_that_is_absent\n")
    async with Triton(settings) as triton:
        with pytest.raises(TritonUnavailableError, match="No module named 'a_package_that_is_absent'"):
            await triton.wait_ready(30)
        assert triton.state is TritonState.FAILED
        with pytest.raises(TritonUnavailableError):
            await triton.wait_ready(0.1)


async def test_it_gives_up_after_growing_pauses(settings: TritonSettings, repository: Path) -> None:
    stubborn = TritonSettings(
        settings.home, settings.repository, grace=0.2, backoff=0.1, probe_every=0.1, give_up=3
    )
    async with Triton(stubborn) as triton:
        await triton.wait_ready(30)
        (repository / "double" / "1" / "model.py").write_text("raise SystemError('spoilt')\n")
        assert triton.pid
        os.kill(triton.pid, signal.SIGKILL)
        started = time.monotonic()
        with pytest.raises(TritonUnavailableError, match="gave up"):
            await asyncio.wait_for(triton.until_failed(), 30)
        assert triton.state is TritonState.FAILED
        assert time.monotonic() - started > 0.1 + 0.2 + 0.4
        assert "gave up after 3 restarts in a row" in triton.reason
        assert "spoilt" in triton.reason


async def test_not_ready_in_time_says_so(settings: TritonSettings) -> None:
    async with Triton(settings) as triton:
        with pytest.raises(
            TritonUnavailableError, match=r"still starting after 0.01 s; its log is .*triton\.log"
        ):
            await triton.wait_ready(0.01)


async def test_a_port_taken_in_the_meantime_is_replaced(
    settings: TritonSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        lost = Ports(taken.getsockname()[1], *(free_ports().http, free_ports().metrics))
        offers = [lost]
        monkeypatch.setattr(triton_server, "free_ports", lambda: offers.pop() if offers else free_ports())
        async with Triton(settings) as triton:
            await triton.wait_ready(30)
            assert triton.grpc_address != f"127.0.0.1:{lost.grpc}"
            assert await double(triton, 2) == 4


async def test_a_stranger_on_the_port_is_not_taken_for_ours(
    settings: TritonSettings, running: Triton
) -> None:
    """Another Triton answers `ready` on the port; ours must not be called ready for that."""
    from services.local.triton import health

    port = int(running.http_address.split(":")[1])
    assert (await health.exchange(port, "GET", "/v2/health/ready", 2))[0] == 200
    assert not await health.is_ready(port, "vmesh-another", 2)


PARENT = """
import asyncio, sys
from pathlib import Path
from services.local.triton import Triton, TritonSettings

async def main() -> None:
    async with Triton(TritonSettings(Path(sys.argv[1]), Path(sys.argv[2]))) as triton:
        await triton.wait_ready(30)
        print(triton.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def mesh(settings: TritonSettings) -> subprocess.Popen[str]:
    """A process of its own that keeps a Triton, as `vmesh up` does."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", PARENT, str(settings.home), str(settings.repository)]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


async def test_kill_9_of_the_parent_leaves_no_orphan(mesh: subprocess.Popen[str]) -> None:
    assert mesh.stdout
    triton = int(await asyncio.to_thread(mesh.stdout.readline))
    prefix = shared_memory_prefix(triton)
    assert shared_memory(prefix)
    family = descendants(mesh.pid)
    assert triton in family
    assert len(family) == 3  # guard, server, one worker
    mesh.kill()
    await asyncio.to_thread(mesh.wait)
    await eventually(lambda: not any(map(alive, family)), within=3)
    await eventually(lambda: not shared_memory(prefix), within=3)


async def test_kill_9_of_the_guard_leaves_no_orphan(mesh: subprocess.Popen[str]) -> None:
    assert mesh.stdout
    triton = int(await asyncio.to_thread(mesh.stdout.readline))
    (guard,) = [pid for pid in descendants(mesh.pid) if triton in descendants(pid)]
    family = [triton, *descendants(triton)]
    os.kill(guard, signal.SIGKILL)
    await eventually(lambda: not any(map(alive, family)), within=5)
    mesh.terminate()
    await asyncio.to_thread(mesh.wait)


async def run_guard(
    log: Path, *command: str, grace: float = 0.3, max_bytes: int = 1 << 20
) -> asyncio.subprocess.Process:
    arguments = [str(log), str(max_bytes), str(grace), "vmesh-none", *command]
    return await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", str(GUARD), *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


async def test_the_guard_bounds_its_log_and_passes_the_exit_status_on(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "server.log"
    guard = await run_guard(log, "sh", "-c", "seq 1 60000; exit 7", max_bytes=50_000)
    assert await asyncio.wait_for(guard.wait(), 20) == 7
    kept = [log, log.with_name("server.log.1")]
    assert sum(path.stat().st_size for path in kept) < 2 * (50_000 + (1 << 16))
    assert log.read_text().endswith("60000\n")


async def test_the_guard_kills_what_ignores_sigterm_and_its_children(tmp_path: Path) -> None:
    script = "trap '' TERM; (trap '' TERM; setsid sleep 60; true) & wait; sleep 60"
    guard = await run_guard(tmp_path / "log", "sh", "-c", script)
    assert guard.stdout
    child = int(await guard.stdout.readline())
    await eventually(lambda: len(descendants(child)) >= 2)
    family = [child, *descendants(child)]
    guard.terminate()
    assert await asyncio.wait_for(guard.wait(), 20) == 137
    assert not any(map(alive, family))


async def test_letting_go_of_the_leash_kills_at_once(tmp_path: Path) -> None:
    guard = await run_guard(tmp_path / "log", "sleep", "60", grace=30)
    assert guard.stdout
    assert guard.stdin
    child = int(await guard.stdout.readline())
    guard.stdin.close()
    await asyncio.wait_for(guard.wait(), 3)
    assert not alive(child)


def test_a_missing_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(TritonNotInstalledError, match="pip install nvidia-pytriton"):
        triton_install.find_install()


def test_a_python_without_a_backend_is_told_which_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        triton_install, "sys", SimpleNamespace(version_info=SimpleNamespace(major=3, minor=7))
    )
    with pytest.raises(TritonNotInstalledError, match=r"no backend for Python 3\.7; use one of: .*3\.11"):
        triton_install.find_install()
