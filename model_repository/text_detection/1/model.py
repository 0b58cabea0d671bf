"""PP-OCR's detector: an RGB picture -> how likely each pixel is inside a line of text."""

import json
from pathlib import Path

import graph  # beside this file, which the backend puts on the path
import numpy as np
import tensors
import triton_python_backend_utils as pb_utils

HERE = Path(__file__).parent
STEP = 32  # the network halves a picture five times


class TritonPythonModel:
    """image UINT8 [H, W, 3] RGB, sides in steps of 32 -> probability UINT8 [H, W] in 255ths.

    Other sides and too many pixels end in INVALID_ARGUMENT, running out of memory in UNAVAILABLE.
    """

    def initialize(self, args):
        """Load the network."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.threads = int(parameters["intra_op_threads"]["string_value"])
        self.max_pixels = int(parameters["max_pixels"]["string_value"])
        self.load()

    def load(self):
        """Open the graph."""
        self.graph = graph.load(HERE, "model", threads=self.threads, steady_shapes=False)
        (self.given,), (self.made,) = self.graph.inputs, self.graph.outputs

    def execute(self, requests):
        """Answer the requests that Triton hands over at once."""
        return [self.respond(request) for request in requests]

    def respond(self, request):
        """One request's response, whatever happens."""
        image = tensors.values(request, "image")
        height, width, _ = image.shape
        if not 0 < height * width <= self.max_pixels or height % STEP or width % STEP:
            message = (
                f"image: sides in steps of {STEP}, up to {self.max_pixels} pixels; {width}x{height} given"
            )
            return refuse(message, pb_utils.TritonError.INVALID_ARG)
        try:
            found = self.find(image)
        except Exception as error:
            if graph.is_out_of_memory(error):
                self.graph = None  # it may still hold memory; the next request opens it afresh
                return refuse("out of memory: send a smaller image", pb_utils.TritonError.UNAVAILABLE)
            return refuse(f"finding text failed: {error}", pb_utils.TritonError.INTERNAL)
        return pb_utils.InferenceResponse([pb_utils.Tensor("probability", found)])

    def find(self, image):
        """The network's map; it reads BGR in [-1, 1]."""
        if self.graph is None:
            self.load()
        values = image[None, ..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
        found = self.graph.run({self.given: values})[self.made][0, 0]
        if not np.isfinite(found).all():  # it would become 0, a picture without text
            raise ValueError("the network's answer is not finite")
        return np.rint(found * 255).astype(np.uint8)


def refuse(message, code):
    """An error response."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
