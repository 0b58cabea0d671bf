"""Carries out the passes of a plan: in threads, or by a model in Triton, which is leased unless it is pinned."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.enhance import faces
from services.enhance.availability import Availability
from services.enhance.canvas import extend
from services.enhance.pixels import Pixels, resize, split_alpha
from services.enhance.plan import Enlarge, Extend, Filter, Pass, Resize, RestoreFaces, Size
from services.enhance.settings import Settings
from services.runtime.models import Models
from services.runtime.triton import TritonClient

UPSCALER = "upscale_realesrgan"  # pinned: it needs no lease
DETECTOR = "face_detection_centerface"
LEAST_MODEL_SECONDS = 30.0
# A model that takes one picture at a time may have others' before it: a large one deblurred is six minutes, and a small
# one waits no less for it. The caller's own deadline is the nearer one where there is any.
TURN_SECONDS = 600.0
SEEN_SIDE = 2048  # longest side of what is sent to the detector, which looks at half of that
FACE_SECONDS = 60.0  # one face: 5.1 processor seconds for GFP-GAN, 10.0 for CodeFormer
FACES_AT_ONCE = 8  # in one message: 6.3 MB

Tensors: TypeAlias = Mapping[str, NDArray[Any]]
Colours: TypeAlias = Callable[[Pixels], Awaitable[Pixels]]


class Passes:
    """Runs passes on pictures [H, W, 3 or 4]; alpha is no picture and goes by no model."""

    def __init__(
        self, triton: TritonClient, models: Models, availability: Availability, settings: Settings
    ) -> None:
        self._triton = triton
        self._models = models
        self._availability = availability
        self._settings = settings

    async def require(self, passes: Sequence[Pass]) -> None:
        """See that every model of the passes is built. Raises MeshError MODEL_NEEDS_WEIGHTS."""
        wanted: set[tuple[str, ...]] = set()
        for step in passes:
            match step:
                case Filter(model):
                    wanted.add((model,))
                case RestoreFaces():
                    wanted |= {(DETECTOR,), self._settings.face_restorers}
        await asyncio.gather(*(self._availability.first_of(names) for names in sorted(wanted)))

    async def run(self, step: Pass, picture: Pixels) -> tuple[Pixels, str]:
        """Return the picture after the pass, and what came of it where that is worth saying."""
        match step:
            case Enlarge(variant):
                return await self._enlarge(picture, variant), ""
            case Filter(model):
                return await _on_colours(picture, lambda colour: self._filter(model, colour)), ""
            case RestoreFaces(fidelity):
                return await self._restore_faces(picture, fidelity)
            case Resize(size):
                return await asyncio.to_thread(resize, picture, size), ""
            case Extend(canvas):
                return await asyncio.to_thread(extend, picture, canvas.width, canvas.height), ""

    async def _enlarge(self, picture: Pixels, variant: str) -> Pixels:
        async def enlarge(colour: Pixels) -> Pixels:
            named: Tensors = {"image": colour, "variant": np.array([variant.encode()], dtype=object)}
            outputs = await self._triton.infer(UPSCALER, named, timeout=self._seconds(colour))
            return np.asarray(outputs["image"], np.uint8)

        return await _on_colours(picture, enlarge)

    async def _filter(self, model: str, colour: Pixels) -> Pixels:
        async with self._models.use(model, timeout=self._settings.load_seconds):
            seconds = TURN_SECONDS + self._seconds(colour)
            outputs = await self._triton.infer(model, {"image": colour}, timeout=seconds)
        return np.asarray(outputs["image"], np.uint8)

    async def _restore_faces(self, picture: Pixels, fidelity: float) -> tuple[Pixels, str]:
        colour = np.ascontiguousarray(picture[..., :3])
        cuts = faces.find_cuts(await self._landmarks(colour))
        if not cuts:
            return picture, "no face found"
        restorer = await self._availability.first_of(self._settings.face_restorers)
        given: list[Pixels] = []
        restored: list[Pixels] = []
        async with self._models.use(restorer, timeout=self._settings.load_seconds):
            for start in range(0, len(cuts), FACES_AT_ONCE):
                # Not all at once: a cut is 0.8 MB, and a picture of a crowd may hold two thousand faces.
                some = await asyncio.to_thread(_cut_out, colour, cuts[start : start + FACES_AT_ONCE])
                given += list(some)
                asked: Tensors = {"faces": some, "fidelity": np.array([fidelity], np.float32)}
                seconds = TURN_SECONDS + FACE_SECONDS * len(some)
                answer = await self._triton.infer(restorer, asked, timeout=seconds)
                restored += list(np.asarray(answer["faces"], np.uint8))
        pasted = await asyncio.to_thread(faces.paste, colour, cuts, given, restored)
        if picture.shape[2] == 4:
            pasted = await asyncio.to_thread(lambda: np.dstack([pasted, picture[..., 3]]))
        return pasted, f"{len(cuts)} {'face' if len(cuts) == 1 else 'faces'} by {restorer}"

    async def _landmarks(self, colour: Pixels) -> NDArray[np.float32]:
        """Return the landmarks [N, 5, 2] of every face, in pixels of the picture."""
        height, width = colour.shape[:2]
        factor = max(1.0, max(height, width) / SEEN_SIDE)
        if factor > 1:
            colour = await asyncio.to_thread(resize, colour, Size(width, height).times(1 / factor))
        async with self._models.use(DETECTOR, timeout=self._settings.load_seconds):
            found = await self._triton.infer(DETECTOR, {"image": colour}, timeout=self._seconds(colour))
        return np.asarray(found["landmarks"] * np.float32(factor), np.float32)

    def _seconds(self, picture: Pixels) -> float:
        megapixels = picture.shape[0] * picture.shape[1] / 1e6
        return max(LEAST_MODEL_SECONDS, megapixels * self._settings.seconds_per_megapixel)


def _cut_out(colour: Pixels, cuts: Sequence[faces.Cut]) -> Pixels:
    """Return the faces [N, 512, 512, 3]."""
    return np.stack([faces.cut_out(colour, cut) for cut in cuts])


async def _on_colours(picture: Pixels, run: Colours) -> Pixels:
    """Run a model over the colours alone; alpha is resampled to their new size, or kept where that is the old one."""
    if picture.shape[2] == 3:
        return await run(picture)
    colour, alpha = await asyncio.to_thread(split_alpha, picture)
    made = await run(colour)
    size = Size(made.shape[1], made.shape[0])
    if made.shape[:2] != alpha.shape:
        alpha = await asyncio.to_thread(resize, alpha[..., None], size)
    return await asyncio.to_thread(lambda: np.dstack([made, alpha]))
