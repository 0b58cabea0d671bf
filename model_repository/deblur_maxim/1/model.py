"""MAXIM deblurring: an RGB image of any size -> the same with motion blur taken back."""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

# Beside this file, which the backend puts on the path.
from graph import is_out_of_memory, load
from tensors import Cancelled, stop_if_cancelled, values
from tiles import Mosaic, Tiling, tiles

HERE = Path(__file__).parent
# The network mixes pixels of a whole tile on a grid, so no overlap makes a seam exact: on a photograph with 15 pixels of
# motion neighbours disagree by 1 to 3 levels of 255 in the mean, and fade into each other. More overlap changed nothing,
# and a reflected margin cost 0.2 dB.
MARGIN, DISCARD, BLEND = 0, 8, 16


class TritonPythonModel:
    """image UINT8 [H, W, 3] RGB -> image UINT8 [H, W, 3].

    An image of too many pixels ends in INVALID_ARGUMENT, running out of memory in UNAVAILABLE, a cancelled request in
    CANCELLED, before its next tile.
    """

    def initialize(self, args):
        """Load the network."""
        parameters = {
            key: int(value["string_value"])
            for key, value in json.loads(args["model_config"])["parameters"].items()
        }
        self.threads, self.max_pixels = parameters["intra_op_threads"], parameters["max_pixels"]
        self.load()

    def load(self):
        """Open the graph. It takes tiles of one size."""
        self.graph = load(HERE, "deblur", threads=self.threads, optimise=False)
        ((self.name, expected),) = self.graph.inputs.items()
        side = expected.shape[1]
        self.tiling = Tiling(size=side, margin=MARGIN, discard=DISCARD, blend=BLEND, multiple=side)

    def execute(self, requests):
        """Answer the requests that Triton hands over at once."""
        return [self.respond(request) for request in requests]

    def respond(self, request):
        """One request's response, whatever happens."""
        image, codes = values(request, "image"), pb_utils.TritonError
        height, width, _ = image.shape
        if not 1 <= height * width <= self.max_pixels:
            rule = f"image: must have 1 to {self.max_pixels} pixels; {width}x{height} given"
            return refuse(rule, codes.INVALID_ARG)
        try:
            sharper = self.deblur(request, image)
        except Cancelled as gone:
            return refuse(str(gone), codes.CANCELLED)
        except Exception as error:
            if is_out_of_memory(error):
                self.graph = None  # it may still hold memory; the next request opens it afresh
                return refuse("out of memory: send a smaller image", codes.UNAVAILABLE)
            return refuse(f"deblurring failed: {error}", codes.INTERNAL)
        return pb_utils.InferenceResponse([pb_utils.Tensor("image", np.ascontiguousarray(sharper))])

    def deblur(self, request, image):
        """The image, tile by tile. Raises Cancelled before the next tile of a caller who has gone."""
        if self.graph is None:
            self.load()
        mosaic = Mosaic(*image.shape[:2], self.tiling, scale=1)
        for tile in tiles(image, self.tiling, scale=1):
            stop_if_cancelled(request, "between two tiles")
            feed = {self.name: np.ascontiguousarray(tile.pixels.transpose(0, 2, 3, 1))}
            (sharper,) = self.graph.run(feed).values()
            mosaic.add(tile, sharper.transpose(0, 3, 1, 2))
        return mosaic.picture()


def refuse(message, code):
    """An error response."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
