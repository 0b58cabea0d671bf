"""How fast the heavy networks run on a GPU, runtime by runtime: `python bench/gpu.py`.

    python bench/gpu.py --output bench/results/gpu.json
    python bench/gpu.py --tiny --device cpu          # the same code on small networks, to see that it runs

Weights are random, for time does not depend on their values. A run goes from arrays in the host's memory to arrays in
the host's memory, as serving does. Each network is measured at one shape, given in the table; a runtime that cannot be
had here is named with its reason instead of a figure. Prints a table in Markdown and saves JSON.
"""

import argparse
import gc
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.house.network import HouseModel
from services.models.architectures.realesrgan import RrdbNet, SrvggNetCompact
from services.models.diffusers.networks import SdxlUNet, VaeDecoder
from services.models.entry import Precision
from services.models.serving.engine import Engine, compute_capability
from services.models.serving.graph import load
from services.models.tensorrt.api import build_plan, library_for
from services.models.tensorrt.prepare import prepare

WARM_UP, ROUNDS = 5, 30
BUILT_FOR = 89  # without a GPU engines are built for this one, and not run

Array = NDArray[Any]
Run = Callable[[], object]


@dataclass(frozen=True)
class Network:
    """A network and the shapes it is measured at, by input; the first input's is shown."""

    name: str
    make: Callable[[], torch.nn.Module]
    shapes: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Row:
    """One network in one runtime; milliseconds of a run, or why there are none."""

    network: str
    shape: str
    runtime: str
    precision: str
    median_ms: float | None = None
    p90_ms: float | None = None
    prepare_s: float | None = None
    detail: str = ""


def unet(tiny: bool) -> torch.nn.Module:
    """SDXL's denoiser: 2.6 billion weights; tiny, the same blocks, two of them."""
    from diffusers import UNet2DConditionModel

    full: dict[str, Any] = {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 2,
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }
    small: dict[str, Any] = {
        "block_out_channels": (32, 64),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": (2, 4),
        "norm_num_groups": 8,
        "cross_attention_dim": 64,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 16,
    }
    chosen = small if tiny else full
    network = UNet2DConditionModel(
        sample_size=128, use_linear_projection=True, addition_embed_type="text_time", **chosen
    )
    return SdxlUNet(network)


def vae(tiny: bool) -> torch.nn.Module:
    """SDXL's decoder."""
    from diffusers import AutoencoderKL

    widths = (8, 16) if tiny else (128, 256, 512, 512)
    network = AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=1 if tiny else 2,
        norm_num_groups=8 if tiny else 32,
        latent_channels=4,
        scaling_factor=0.13025,
    )
    return VaeDecoder(network)


def networks(tiny: bool) -> list[Network]:
    """Return what is measured, small ones first. A denoiser draws one picture with guidance: two rows."""
    latents, text, pooled = (16, 64, 16) if tiny else (128, 2048, 1280)
    tile = (1, 3, 32, 32)
    return [
        Network(
            "house", HouseModel, {"z": (2, 3, 64, 64), "t": (2,), "words": (2, 12, 384), "pooled": (2, 384)}
        ),
        Network("Real-ESRGAN compact", SrvggNetCompact, {"image": tile if tiny else (1, 3, 480, 720)}),
        Network(
            "Real-ESRGAN x4plus",
            lambda: RrdbNet(blocks=1 if tiny else 23),
            {"image": tile if tiny else (1, 3, 256, 256)},
        ),
        Network("SDXL VAE decoder", lambda: vae(tiny), {"latents": (1, 4, latents, latents)}),
        Network(
            "SDXL UNet",
            lambda: unet(tiny),
            {
                "sample": (2, 4, latents, latents),
                "timestep": (2,),
                "encoder_hidden_states": (2, 77, text),
                "pooled": (2, pooled),
                "time_ids": (2, 6),
            },
        ),
    ]


@dataclass(frozen=True)
class Bench:
    """One network ready to be measured: its module on the device, its inputs in the host's memory."""

    network: Network
    module: torch.nn.Module
    feed: dict[str, Array]
    device: str
    scratch: Path

    def torch_run(self, module: Callable[..., Any]) -> Run:
        """Run a module between arrays of the host."""

        def run() -> object:
            with torch.inference_mode():
                given = [torch.from_numpy(array).to(self.device) for array in self.feed.values()]
                return module(*given).cpu().numpy()

        return run

    def onnx(self) -> Path:
        """Export once; shapes are fixed, since one is measured."""
        path = self.scratch / "1" / "network.onnx"
        if not path.is_file():
            path.parent.mkdir()
            given = tuple(torch.from_numpy(array).to(self.device) for array in self.feed.values())
            with torch.no_grad():
                program = torch.onnx.export(
                    self.module,
                    given,
                    dynamo=True,
                    opset_version=20,
                    input_names=list(self.feed),
                    output_names=["output"],
                    verbose=False,
                )
            program.save(str(path), external_data=True)
        return path


def eager(bench: Bench) -> Run:
    """PyTorch as it is written."""
    return bench.torch_run(bench.module)


def compiled(bench: Bench) -> Run:
    """`torch.compile`, with CUDA graphs on a GPU."""
    return bench.torch_run(torch.compile(bench.module, mode="reduce-overhead", dynamic=False))


def onnxruntime(bench: Bench) -> Run:
    """ONNX Runtime as it is served; on the GPU where the installed build has it."""
    path = bench.onnx()
    device = 0 if bench.device == "cuda" else None
    graph = load(path.parent, "network", threads=0, device=device)
    if device is not None and "CUDAExecutionProvider" not in graph._session.get_providers():  # type: ignore[attr-defined]
        raise RuntimeError("the installed ONNX Runtime has no CUDA: pip install onnxruntime-gpu")
    return lambda: graph.run(bench.feed)


def tensorrt(bench: Bench) -> Run:
    """A TensorRT engine in the precision of the graph."""
    present = compute_capability()
    sm = present or BUILT_FOR
    library = library_for(sm, present)
    made = bench.scratch / "plain"
    made.mkdir()
    graph = prepare(bench.onnx(), Precision.FP32, None, made, lambda stage: None)
    plan = bench.scratch / "network.plan"
    plan.write_bytes(build_plan(library, graph, {}, sm=sm).engine)
    if present is None:
        size = plan.stat().st_size / (1 << 20)
        raise RuntimeError(
            f"{library.name} {library.version} built {size:.1f} MiB for sm{sm}; no GPU here to run it"
        )
    engine = Engine(plan, library.name, 0)
    return lambda: engine.run(bench.feed)


RUNTIMES: dict[str, Callable[[Bench], Run]] = {
    "PyTorch eager": eager,
    "torch.compile": compiled,
    "ONNX Runtime": onnxruntime,
    "TensorRT": tensorrt,
}


def measure(bench: Bench, runtime: str, rounds: int, warm_up: int) -> Row:
    """Prepare one runtime and time it."""
    network = bench.network
    shape = "x".join(map(str, next(iter(network.shapes.values()))))
    dtype = str(next(bench.module.parameters()).dtype).removeprefix("torch.")
    began = time.perf_counter()
    try:
        run = RUNTIMES[runtime](bench)
        for _ in range(warm_up):
            run()
        prepared = time.perf_counter() - began
        taken = []
        for _ in range(rounds):
            started = time.perf_counter()
            run()
            taken.append((time.perf_counter() - started) * 1e3)
    except Exception as error:
        detail = " ".join(str(error).split())[:160] or type(error).__name__
        return Row(network.name, shape, runtime, dtype, prepare_s=time.perf_counter() - began, detail=detail)
    p90 = statistics.quantiles(taken, n=10)[-1] if len(taken) > 1 else taken[0]
    return Row(network.name, shape, runtime, dtype, statistics.median(taken), p90, prepared)


def markdown(rows: list[Row]) -> str:
    """Return the rows as a table."""
    lines = [
        "| network | shape | runtime | precision | median ms | P90 ms | ready after |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = (
            f"{row.median_ms:.2f} | {row.p90_ms:.2f}"
            if row.median_ms is not None and row.p90_ms is not None
            else f"{row.detail} |"
        )
        ready = f"{row.prepare_s:.1f} s" if row.prepare_s is not None else ""
        lines.append(
            f"| {row.network} | {row.shape} | {row.runtime} | {row.precision} | {figures} | {ready} |"
        )
    return "\n".join(lines)


def machine(device: str) -> dict[str, Any]:
    """Return what the figures hold for."""
    packages = (
        "torch",
        "diffusers",
        "onnxruntime",
        "onnxruntime-gpu",
        "tensorrt",
        "tensorrt-rtx-cu13",
        "cuda-bindings",
    )
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    gpu = torch.cuda.get_device_name() if device == "cuda" else ""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "gpu": gpu,
        "packages": found,
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="networks of the same parts and a thousandth of the size"
    )
    parser.add_argument("--only", nargs="*", default=[], help="words that a network's name has to hold")
    parser.add_argument("--runtimes", nargs="*", default=list(RUNTIMES), choices=list(RUNTIMES))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--warm-up", type=int, default=WARM_UP)
    parser.add_argument("--output", type=Path, help="file for the figures, as JSON")
    chosen = parser.parse_args()
    torch.manual_seed(0)
    if chosen.device == "cpu":
        torch.set_num_threads(
            1
        )  # several on busy cores wait for one another many times longer than they compute
    dtype = torch.float16 if chosen.device == "cuda" else torch.float32
    rows: list[Row] = []
    for network in networks(chosen.tiny):
        if chosen.only and not any(word.lower() in network.name.lower() for word in chosen.only):
            continue
        module = network.make().to(chosen.device, dtype).eval().requires_grad_(False)
        numpy_type = np.float16 if dtype is torch.float16 else np.float32
        generator = np.random.default_rng(0)
        feed = {name: generator.random(shape).astype(numpy_type) for name, shape in network.shapes.items()}
        for runtime in chosen.runtimes:
            with tempfile.TemporaryDirectory(prefix="bench-gpu-") as scratch:
                rows.append(
                    measure(
                        Bench(network, module, feed, chosen.device, Path(scratch)),
                        runtime,
                        chosen.rounds,
                        chosen.warm_up,
                    )
                )
            print(markdown(rows).splitlines()[-1], flush=True)
            gc.collect()
            if chosen.device == "cuda":
                torch.cuda.empty_cache()
        del module
    told = machine(chosen.device)
    print(f"\n{json.dumps(told)}\n\n{markdown(rows)}")
    if chosen.output:
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(json.dumps(told | {"rows": [asdict(row) for row in rows]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
