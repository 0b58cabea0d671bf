"""How fast the language model is on this machine, and what it costs in memory.

    nice python -m bench.language_model [--home HOME]

Builds the model if need be, starts a Triton with it alone, and asks through the client that servers use. Then tells what
rounding activations to eight bits changes, against the same weights computed in FP32. One to two minutes on two cores.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from services.local.triton import Triton, TritonSettings
from services.models import convert_llama, gguf, gguf_tokenizer
from services.models.build import build_repository
from services.models.catalogue import get_model
from services.models.entry import PackageSource
from services.models.llama import Shape
from services.models.presence import served_repository
from services.models.sources import weights_directory
from services.runtime.language_model import LanguageModel, Message, system, user
from services.runtime.language_model.house import House
from services.runtime.settings import default_home
from services.runtime.triton import TritonClient
from services.runtime.workers import find_workers

MODEL = "language_model"
SECONDS = 600.0
RUNS = 5
WRITTEN = 64  # tokens
READ = 1024  # tokens
PROMPTS = Path(__file__).parent / "prompts" / "enhancement.txt"
COLORS = ("red", "green", "blue", "yellow", "black", "white", "orange", "purple")
STORY = [user("Tell a long story about a lighthouse.")]


async def seconds(model: LanguageModel, messages: Sequence[Message], most_tokens: int) -> float:
    """Return how long an answer takes."""
    began = time.perf_counter()
    await model.complete(messages, most_tokens=most_tokens, seconds=SECONDS)
    return time.perf_counter() - began


async def choosing(model: LanguageModel, number: int) -> float:
    """Return how long a choice among eight takes, after an opening that it has read before."""
    began = time.perf_counter()
    messages = [system("You know which colors things have."), user(f"Which color has thing {number}?")]
    await model.choose(messages, COLORS, seconds=SECONDS)
    return time.perf_counter() - began


def processor(pid: int) -> float:
    """Return the processor time that a process has used, in seconds: what other work on the machine does not change."""
    user_ticks, system_ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user_ticks) + int(system_ticks)) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """Return the memory that a process has in RAM, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def rounding(home: Path) -> None:
    """Print the perplexity of the bench's own prompts and how often the likeliest token is the same."""
    source = get_model(MODEL).source
    assert isinstance(source, PackageSource)
    (path,) = weights_directory(source, home).glob("*.gguf")
    file = gguf.read(path)
    tokenizer, _ = gguf_tokenizer.read(file.metadata)
    ids = np.array(tokenizer.encode(PROMPTS.read_text("utf-8")).ids[:READ])
    shape = Shape.of(file)
    feed: dict[str, NDArray[Any]] = {
        "ids": ids[None],
        "wanted": np.arange(len(ids) - 1),
        "last": np.array([len(ids) - 1], np.int32),
        "total": np.array(len(ids), np.int32),
    }
    for layer in range(shape.layers):
        for part in ("key", "value"):
            feed[f"past_{part}.{layer}"] = np.zeros((1, shape.groups, 0, shape.size), np.float32)
    likeliest = []
    for name, accuracy in (("FP32", convert_llama.PRECISE), ("rounded", convert_llama.ROUNDED)):
        graph = convert_llama.to_onnx(file, accuracy).SerializeToString()
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        logits = session.run(["logits"], feed)[0].astype(np.float64)
        shares = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        perplexity = np.exp(-shares[np.arange(len(ids) - 1), ids[1:]].mean())
        print(f"{name}: perplexity {perplexity:.2f} over {len(ids) - 1} tokens")
        likeliest.append(logits.argmax(-1))
    print(f"the likeliest token is the same for {(likeliest[0] == likeliest[1]).mean():.1%}")


async def measure(home: Path) -> None:
    """Build, start, ask, print."""
    (outcome,) = await asyncio.to_thread(build_repository, home, [MODEL])
    if not outcome.served:
        raise SystemExit(outcome.detail)
    with tempfile.TemporaryDirectory() as scratch:
        settings = TritonSettings(Path(scratch), served_repository(home), (MODEL,))
        async with Triton(settings) as server, TritonClient(server.grpc_address) as triton:
            await server.wait_ready(SECONDS)
            (worker,) = find_workers(int(settings.pid_file.read_text()))
            await triton.unload(MODEL, SECONDS)
            while (await triton.index()).get(MODEL) != "UNAVAILABLE":  # noqa: ASYNC110 - Triton tells nobody
                await asyncio.sleep(0.1)
            began = time.perf_counter()
            await triton.load(MODEL, SECONDS)
            print(f"load average {os.getloadavg()[0]:.1f}; loaded in {time.perf_counter() - began:.1f} s")
            (worker,) = (pid for pid in find_workers(int(settings.pid_file.read_text())) if pid != worker)
            model = House(triton, None)
            began = processor(worker)
            first = [await seconds(model, STORY, 1) for _ in range(RUNS)]
            spent = [processor(worker) - began]
            whole = [await seconds(model, STORY, WRITTEN) for _ in range(RUNS)]
            spent.append(processor(worker) - began - spent[0])
            rate = (WRITTEN - 1) / (statistics.median(whole) - statistics.median(first))
            each = 1000 * (spent[1] - spent[0]) / RUNS / (WRITTEN - 1)
            print(f"first token {1000 * statistics.median(first):.0f} ms, then {rate:.0f} tokens a second")
            print(f"processor time: first token {1000 * spent[0] / RUNS:.0f} ms, each other {each:.1f} ms")
            await choosing(model, RUNS)
            began = processor(worker)
            chosen = [await choosing(model, number) for number in range(RUNS)]
            print(f"one of eight chosen in {1000 * statistics.median(chosen):.0f} ms", end=", ")
            print(f"processor time {1000 * (processor(worker) - began) / RUNS:.0f} ms")
            print(f"memory {resident(worker):.0f} MiB", end=", ")
            longest = [user("one two three four five six seven eight nine " * 194)]
            took = await seconds(model, longest, 256)
            print(f"after the longest talk, which took {took:.1f} s, {resident(worker):.0f} MiB")
            print(f"load average {os.getloadavg()[0]:.1f}")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=default_home(), help="where models are built")
    home = parser.parse_args().home
    asyncio.run(measure(home))
    rounding(home)


if __name__ == "__main__":
    main()
