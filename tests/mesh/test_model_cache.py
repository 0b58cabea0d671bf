"""The model cache on a real Triton: loaded on demand, shared, evicted, starved of memory, killed and cancelled."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
import pytest_asyncio

from scrollintel.visual.v1 import models_pb2 as pb
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.models import Models
from services.runtime.workers import find_workers
from tests import tiny_models
from tests.mesh.cached import PINNED, READY_SECONDS, Cached, cached, eventually, failure_of, patient

ROOT = Path(__file__).parents[2]
BUDGET_MIB = 400
ENOUGH_MIB = 2  # to allocate
TOO_MUCH_MIB = 600  # beyond the limit of `poor`
SLOW_SECONDS = 1.5


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("cached")
    tiny_models.write(home, PINNED, memory_mib=40, pinned=True)
    for name in ("one", "two", "three"):
        tiny_models.write(home, name, memory_mib=150, ballast_mib=20)
    tiny_models.write(home, "slow", memory_mib=60, load_seconds=SLOW_SECONDS)
    tiny_models.write(home, "poor", memory_mib=60, memory_limit_mib=300)
    tiny_models.write(home, "huge", memory_mib=BUDGET_MIB)
    return home


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mesh(home: Path) -> AsyncIterator[Cached]:
    async with cached(home, memory_mib=BUDGET_MIB) as running:
        yield running


@pytest.fixture(autouse=True)
async def nothing_on_demand_is_loaded(mesh: Cached) -> None:
    for name in ("one", "two", "three", "slow", "poor"):
        await mesh.stub.UnloadModel(pb.UnloadModelRequest(name=name), timeout=READY_SECONDS)


async def test_triton_starts_with_what_is_pinned_and_loads_the_rest_when_asked(mesh: Cached) -> None:
    assert (await mesh.state(PINNED)).state == pb.MODEL_STATE_READY
    before = await mesh.state("one")
    assert (before.state, before.residency) == (pb.MODEL_STATE_LOADABLE, pb.MODEL_RESIDENCY_ON_DEMAND)
    async with mesh.models.use("one", timeout=READY_SECONDS):
        pid = await mesh.pid("one")
        during = await mesh.state("one")
    assert (during.state, during.leases) == (pb.MODEL_STATE_READY, 1)
    assert during.resident_bytes > 20 << 20, "the ballast at the least"
    assert during.HasField("loaded_at")
    assert (await mesh.state("one")).leases == 0
    assert await mesh.use("one") == pid, "it stays for the next one"


async def test_a_hundred_callers_are_one_loading(mesh: Cached) -> None:
    before = mesh.loadings("slow")
    pids = await asyncio.gather(*(mesh.use("slow") for _ in range(100)))
    assert len(set(pids)) == 1
    assert mesh.loadings("slow") == before + 1


async def test_who_was_used_last_stays_and_who_is_in_use_is_never_evicted(mesh: Cached) -> None:
    await mesh.use("one")
    await mesh.use("two")
    await mesh.use("one")
    await mesh.use("three")  # 40 + 3 × 150 MiB do not fit into 400
    assert await states(mesh, "one", "two", "three") == ["READY", "LOADABLE", "READY"]
    async with mesh.models.use("three", timeout=READY_SECONDS), mesh.models.use("one", timeout=READY_SECONDS):
        with pytest.raises(MeshError) as caught:
            await mesh.use("two")
        assert caught.value.name == "OVERLOADED"
        assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert caught.value.retry_after
        assert "three" in caught.value.message, "who was used first is who would have to end"
        assert await mesh.pid("one")
        assert await mesh.pid("three")
    await mesh.use("two")
    assert await states(mesh, "two", PINNED) == ["READY", "READY"]


async def test_what_fits_in_no_case_is_told_so(mesh: Cached) -> None:
    with pytest.raises(MeshError) as caught:
        await mesh.use("huge")
    assert caught.value.name == "OUT_OF_MEMORY"
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "VMESH_MODELS_MEMORY_MIB" in caught.value.message


@pytest.mark.parametrize("allocate", [-1, TOO_MUCH_MIB], ids=["injected", "a real limit"])
async def test_out_of_memory_is_told_and_the_model_loaded_afresh(mesh: Cached, allocate: int) -> None:
    first = await mesh.use("poor", allocate=ENOUGH_MIB)
    with pytest.raises(MeshError) as caught:
        await mesh.use("poor", allocate=allocate)
    assert caught.value.name == "OUT_OF_MEMORY"
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.retry_after
    assert (await mesh.state("poor")).state in (pb.MODEL_STATE_QUARANTINED, pb.MODEL_STATE_LOADING)
    second = await mesh.use("poor", allocate=ENOUGH_MIB)
    assert second != first, "another process"
    assert await mesh.pid(PINNED), "nothing else noticed"
    assert mesh.triton.restarts == 0


async def test_the_work_of_others_on_a_model_out_of_memory_ends_first(mesh: Cached) -> None:
    await mesh.use("poor")
    async with mesh.models.use("poor", timeout=READY_SECONDS):
        pid = await mesh.pid("poor")
        with pytest.raises(MeshError, match="OUT_OF_MEMORY"):
            await mesh.use("poor", allocate=TOO_MUCH_MIB)
        following = asyncio.create_task(mesh.use("poor"))
        await eventually(lambda: waiting(mesh, "poor", 1))
        assert await mesh.pid("poor", work=0.5) == pid, "the same process until its work has ended"
        assert not following.done()
    assert await following != pid


async def test_a_model_in_use_is_not_unloaded_and_then_is(mesh: Cached) -> None:
    async with mesh.models.use("one", timeout=READY_SECONDS):
        unloading = asyncio.create_task(unload(mesh, "one"))
        await eventually(lambda: in_state(mesh, "one", pb.MODEL_STATE_UNLOADING))
        pid = await mesh.pid("one")
        assert not unloading.done()
    model = await unloading
    assert model.state == pb.MODEL_STATE_LOADABLE
    assert model.resident_bytes == 0
    assert mesh.triton.pid
    assert pid not in find_workers(mesh.triton.pid)


async def test_what_is_pinned_is_not_unloaded(mesh: Cached) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await unload(mesh, PINNED)
    error = failure_of(caught.value)
    assert (error.name, error.field) == ("FIELD_INVALID", "name")


async def test_cancelled_while_it_loads_the_caller_is_released_and_the_others_served(mesh: Cached) -> None:
    before = mesh.loadings("slow")
    doomed = asyncio.create_task(mesh.use("slow"))
    others = [asyncio.create_task(mesh.use("slow")) for _ in range(3)]
    await eventually(lambda: waiting(mesh, "slow", 4))
    doomed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doomed
    assert not any(other.done() for other in others), "released before the loading ends"
    await eventually(lambda: waiting(mesh, "slow", 3))
    assert len(set(await asyncio.gather(*others))) == 1
    assert mesh.loadings("slow") == before + 1


async def test_cancelled_while_it_works_the_lease_ends(mesh: Cached) -> None:
    doomed = asyncio.create_task(mesh.use("one", work=2.0))
    await eventually(lambda: leases(mesh, "one", 1))
    doomed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doomed
    await eventually(lambda: leases(mesh, "one", 0), within=1.0)
    assert await mesh.use("one")


async def test_not_ready_in_time_says_when_to_ask_again(mesh: Cached) -> None:
    with pytest.raises(MeshError) as caught:
        async with mesh.models.use("slow", timeout=0.3):
            pytest.fail("it was not ready")
    assert caught.value.name == "OVERLOADED"
    assert caught.value.retry_after
    assert await mesh.use("slow"), "the loading went on"


async def test_one_worker_killed_the_model_is_back_without_a_restart(mesh: Cached) -> None:
    restarts = mesh.triton.restarts
    async with mesh.models.use("one", timeout=READY_SECONDS):
        pid = await mesh.pid("one")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(MeshError) as caught:
            await mesh.pid("one")
        assert caught.value.retry_after
    assert await patient(lambda: mesh.use("one")) != pid
    assert mesh.triton.restarts == restarts


async def test_triton_killed_while_leases_are_open_and_one_model_loads(mesh: Cached) -> None:
    restarts = mesh.triton.restarts
    loading = asyncio.create_task(mesh.use("slow"))
    async with mesh.models.use("one", timeout=READY_SECONDS):
        working = asyncio.create_task(mesh.pid("one", work=30.0))
        await eventually(lambda: in_state(mesh, "slow", pb.MODEL_STATE_LOADING))
        await asyncio.sleep(0.3)
        assert mesh.triton.pid
        os.kill(mesh.triton.pid, signal.SIGKILL)
        with pytest.raises(MeshError) as caught:
            await working
        assert caught.value.name == "MODEL_UNAVAILABLE"
        assert caught.value.retry_after
        assert await patient(lambda: mesh.pid("one")), "a model under a lease is loaded again by itself"
    assert await loading, "who waited for a model waits on, and gets it"
    assert mesh.triton.restarts == restarts + 1
    assert await mesh.use(PINNED)
    assert mesh.triton.pid
    workers = set(find_workers(mesh.triton.pid).values())
    assert workers == {PINNED, "one", "slow"}


HOLDER = """
import asyncio, sys
from services.runtime.channels import connect
from services.runtime.models import Models

async def main() -> None:
    async with connect(sys.argv[1]) as channel, Models(channel).use(sys.argv[2], timeout=30):
        print("holding", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_lease_ends_with_its_holder_however_that_dies(mesh: Cached) -> None:
    command = [sys.executable, "-c", HOLDER, mesh.address, "one"]
    holder = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert holder.stdout
    assert await asyncio.wait_for(holder.stdout.readline(), READY_SECONDS) == b"holding\n"
    assert (await mesh.state("one")).leases == 1
    holder.kill()
    await holder.wait()
    await eventually(lambda: leases(mesh, "one", 0), within=5.0)
    assert (await unload(mesh, "one")).state == pb.MODEL_STATE_LOADABLE


async def test_a_server_process_that_keeps_memory_is_recycled_when_nobody_works(tmp_path: Path) -> None:
    tiny_models.write(tmp_path, PINNED, pinned=True)
    for name in ("one", "two"):
        tiny_models.write(tmp_path, name, ballast_mib=20)
    # Loading two models makes the server process itself grow, by one or two mebibytes, and here it may by none.
    async with cached(tmp_path, memory_mib=BUDGET_MIB, growth_mib=0) as mesh:
        before = mesh.triton.pid
        assert before
        async with mesh.models.use("two", timeout=READY_SECONDS):
            await mesh.use("one")
            await unload(mesh, "one")
            following = asyncio.create_task(mesh.use("one"))
            await eventually(lambda: waiting(mesh, "one", 1))
            assert await mesh.pid("two"), "it waits for the work to end"
            assert mesh.triton.pid == before
        assert await following
        assert mesh.triton.pid != before
        assert mesh.triton.restarts == 1
        assert await states(mesh, PINNED, "one", "two") == ["READY", "READY", "LOADABLE"]


async def test_what_happens_is_seen_in_the_metrics(mesh: Cached, home: Path) -> None:
    listen, metrics = (f"127.0.0.1:{port}" for port in free_ports())
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("VMESH_")},
        "VMESH_HOME": str(home),
        "VMESH_TRITON_ADDRESS": mesh.triton.grpc_address,
        "VMESH_MODELS_LISTEN": listen,
        "VMESH_MODELS_METRICS_PORT": metrics.rpartition(":")[2],
        "VMESH_MODELS_MEMORY_MIB": str(BUDGET_MIB),
        "VMESH_MODELS_TRITON_PID_FILE": str(mesh.triton.settings.pid_file),
        "VMESH_MODELS_GRACE_SECONDS": "0",
    }
    command = [sys.executable, "-m", "services.models"]
    server = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment)
    try:
        async with connect(listen) as channel:
            models = Models(channel)

            async def answers() -> bool:
                with contextlib.suppress(MeshError):
                    async with models.use(PINNED, timeout=READY_SECONDS):
                        return True
                return False

            await eventually(answers)
            for name in ("one", "two", "three"):
                async with models.use(name, timeout=READY_SECONDS):
                    pass
            with pytest.raises(MeshError):
                async with models.use("poor", timeout=READY_SECONDS):
                    await mesh.pid("poor", allocate=-1)
            async with models.use("poor", timeout=READY_SECONDS):
                told = await asyncio.to_thread(lambda: urlopen(f"http://{metrics}/metrics").read().decode())
    finally:
        server.terminate()
        await server.wait()
    figures = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in told.splitlines()
        if line.startswith("vmesh_models_")
    }

    def figure(name: str, label: str = "") -> float:
        (value,) = [value for key, value in figures.items() if key.startswith(name + "{") and label in key]
        return value

    leases = [line for line in told.splitlines() if 'rpc_method="UseModel"' in line and "_count{" in line]
    codes = {re.search('rpc_grpc_code="([A-Z_]+)"', line)[1] for line in leases}
    # A lease that ends is no failure; UNAVAILABLE is what the first callers hear who come while it still starts.
    assert "OK" in codes
    assert codes <= {"OK", "UNAVAILABLE"}
    assert figure("vmesh_models_num_requests_running", 'model="poor"') == 1
    assert figure("vmesh_models_num_requests_running", 'model="one"') == 0
    assert figure("vmesh_models_num_requests_waiting", 'model="poor"') == 0
    assert figure("vmesh_models_load_duration_seconds_count", 'model="poor"') == 2
    assert figure("vmesh_models_load_duration_seconds_sum", 'model="one"') > 0.1
    assert figure("vmesh_models_evictions_total", 'model="one"') == 1
    assert figure("vmesh_models_quarantines_total", 'model="poor"') == 1
    assert figure("vmesh_models_memory_budget_bytes") == BUDGET_MIB << 20
    assert 0 < figure("vmesh_models_memory_used_bytes") <= BUDGET_MIB << 20


def free_ports() -> Iterator[int]:
    """Two ports that were free a moment ago."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in (one, other)]
    yield from ports


async def states(mesh: Cached, *names: str) -> list[str]:
    found = [await mesh.state(name) for name in names]
    return [pb.ModelState.Name(model.state).removeprefix("MODEL_STATE_") for model in found]


async def in_state(mesh: Cached, name: str, state: "pb.ModelState.ValueType") -> bool:
    return (await mesh.state(name)).state == state


async def leases(mesh: Cached, name: str, count: int) -> bool:
    return (await mesh.state(name)).leases == count


async def waiting(mesh: Cached, name: str, count: int) -> bool:
    return (await mesh.state(name)).waiting == count


async def unload(mesh: Cached, name: str) -> pb.Model:
    request = pb.UnloadModelRequest(name=name)
    return (await mesh.stub.UnloadModel(request, timeout=READY_SECONDS)).model
