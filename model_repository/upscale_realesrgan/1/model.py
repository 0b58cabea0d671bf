"""Real-ESRGAN: an RGB image of any size -> the same enlarged, by one of several networks."""

import json
from pathlib import Path
from threading import BoundedSemaphore, Condition, Lock
from typing import NamedTuple

import numpy as np
import triton_python_backend_utils as pb_utils

# Beside this file, which the backend puts on the path.
from batching import Batcher, Closed, start_threads
from graph import is_out_of_memory, load
from tensors import end, end_with, send, stop_if_cancelled, text, values
from tiles import Mosaic, Tiling, tiles

HERE = Path(__file__).parent
PARTS = (1, 4, 16)  # of the pixels allowed: the largest pictures of each class of sizes


class Variant(NamedTuple):
    """How a network's pictures are cut, and what a pixel of a tile costs; only the ratios of costs count."""

    tiling: Tiling
    cost: float
    scale: int = 4


# Tilings, measured against one whole tile: compact differs by at most one level of 255; x4plus-anime, which sees
# further than any affordable overlap, by 0.1 on average, x4plus by 0.7 (a crop of a face, 150x150). Tiles are small
# because whoever comes waits for one, and cancellation too. Costs: microseconds a pixel on two cores.
# The first is what is used when none is asked for.
VARIANTS = {
    "compact": Variant(Tiling(size=256, margin=8, discard=8, blend=8), cost=20),
    "x4plus-anime": Variant(Tiling(size=160, margin=8, discard=12, blend=12), cost=230),
    "x4plus": Variant(Tiling(size=128, margin=8, discard=12, blend=12), cost=670),
}


def variants_of(directory):
    """The variants that are served from a build; of an operator's checkpoint one, which says its scale."""
    told = directory / "custom.json"
    if not told.is_file():
        return VARIANTS
    custom = json.loads(told.read_text())
    tiling = Tiling(size=128, margin=8, discard=12, blend=12, multiple=custom["multiple"])
    return {"custom": Variant(tiling, cost=670, scale=custom["scale"])}


class TritonPythonModel:
    """image UINT8 [H, W, 3] RGB, variant BYTES [1] (optional) -> image UINT8 [sH, sW, 3], s the variant's scale.

    A wrong variant and an image of too many pixels end in INVALID_ARGUMENT, a full queue and running out of
    memory in UNAVAILABLE, a cancelled request in CANCELLED.

    Requests that are enlarged at the same time take turns by the tile, each as long as the others; tiles of one
    shape and variant share a network call where `max_batch` allows it.
    """

    def initialize(self, args):
        """Load what is needed from the first request on."""
        parameters = {
            key: int(value["string_value"])
            for key, value in json.loads(args["model_config"])["parameters"].items()
        }
        self.threads = parameters["intra_op_threads"]
        self.max_pixels = parameters["max_pixels"]
        self.variants = variants_of(HERE)
        self.loading = Lock()
        self.networks = {}
        self.batcher = Batcher(
            self.enlarge,
            workers=parameters["workers"],
            max_batch=parameters["max_batch"],
            max_owners=parameters["concurrency"],
            max_calls=max(1, parameters["workers"] - 1),  # a tile takes long: one worker is for whoever comes
            is_out_of_memory=is_out_of_memory,
        )
        self.pool = start_threads(parameters["concurrency"], "upscale")
        self.room = BoundedSemaphore(parameters["concurrency"])
        # A result is 48 bytes an input pixel. Twice the largest picture of each class of sizes may be in memory at a
        # time, so that a picture waits for room behind those of about its own size alone.
        self.pixels_left = {part: 2 * self.max_pixels // part for part in PARTS}
        self.pixels_came_back = Condition()

    def network(self, variant):
        """The variant's network, loaded when first asked for and again after it was given up."""
        with self.loading:
            if variant not in self.networks:
                # Sizes differ from request to request.
                self.networks[variant] = load(HERE, variant, threads=self.threads, steady_shapes=False)
            return self.networks[variant]

    def execute(self, requests):
        """Take the requests; each is enlarged in a thread of the pool, so that this returns at once."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                image, variant = self.read(request)
            except ValueError as error:
                end(sender, str(error), pb_utils.TritonError.INVALID_ARG)
                continue
            if not self.room.acquire(blocking=False):
                end(sender, "the queue is full; try again later", pb_utils.TritonError.UNAVAILABLE)
                continue
            self.pool.submit(self.serve, request, image, variant, sender)

    def read(self, request):
        """The request's image and variant, checked. Raises ValueError naming the tensor and the rule."""
        image = values(request, "image")
        height, width, _ = image.shape
        if not 1 <= height * width <= self.max_pixels:
            raise ValueError(f"image: must have 1 to {self.max_pixels} pixels; {width}x{height} given")
        variant = text(request, "variant", next(iter(self.variants)))
        if variant not in self.variants:
            raise ValueError(f"variant: must be one of {', '.join(self.variants)}; {variant!r} given")
        return image, variant

    def serve(self, request, image, variant, sender):
        """Enlarge one request's image to the end, whatever that is: exactly one response."""
        pixels = image.shape[0] * image.shape[1]
        part = max(part for part in PARTS if pixels * part <= self.max_pixels)
        with self.pixels_came_back:
            self.pixels_came_back.wait_for(lambda: self.pixels_left[part] >= pixels)
            self.pixels_left[part] -= pixels
        try:
            send(sender, {"image": self.upscale(request, image, variant)}, last=True)
        except Exception as error:
            end_with(
                sender,
                error,
                doing="upscaling",
                remedy="send a smaller image",
                is_out_of_memory=is_out_of_memory,
                unavailable=(Closed,),
            )
        finally:
            with self.pixels_came_back:
                self.pixels_left[part] += pixels
                self.pixels_came_back.notify_all()
            self.room.release()

    def upscale(self, request, image, variant):
        """The enlarged image. Raises Cancelled before the next tile of a caller who has gone."""
        tiling, cost, scale = self.variants[variant]
        mosaic = Mosaic(*image.shape[:2], tiling, scale)
        with self.batcher.enter(lambda: stop_if_cancelled(request, "between two tiles")) as owner:
            cut = tiles(image, tiling, scale)
            shape = mosaic.tile_shape
            for tile, enlarged in owner.map((variant, *shape), cut, cost=cost * shape[0] * shape[1]):
                mosaic.add(tile, enlarged)
        return np.ascontiguousarray(mosaic.picture())

    def enlarge(self, bucket, batch):
        """Tiles of one shape and variant, each with what the network made of it."""
        feed = {"image": np.concatenate([tile.pixels for tile in batch])}
        # Give the tiles' memory back after each run instead of keeping the largest ever used.
        try:
            (enlarged,) = self.network(bucket[0]).run(feed, shrink=True).values()
        except Exception as error:
            if is_out_of_memory(error):
                self.networks.clear()  # fresh ones give back what the failed one still holds
            raise
        return list(zip(batch, np.split(enlarged, len(batch)), strict=True))

    def finalize(self):
        """Let go of what waits; Triton calls this on unloading."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.batcher.close(timeout=1)
