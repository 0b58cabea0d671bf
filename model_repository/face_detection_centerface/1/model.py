"""CenterFace: an RGB picture of any size -> its faces, each with a box, five landmarks and a score."""

import json
from pathlib import Path

import faces  # beside this file, which the backend puts on the path
import graph
import numpy as np
import tensors
import triton_python_backend_utils as pb_utils

HERE = Path(__file__).parent
MAPS = ("heatmap", "scale", "offset", "landmarks")
THRESHOLD = 0.5


class TritonPythonModel:
    """image UINT8 [H, W, 3] RGB, threshold FP32 [1] (optional, 0.5) -> boxes, landmarks, scores; no face gives N = 0.

    A picture of too many pixels and a threshold outside (0, 1) end in INVALID_ARGUMENT, running out of memory in
    UNAVAILABLE.
    """

    def initialize(self, args):
        """Load the network."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.threads = int(parameters["intra_op_threads"]["string_value"])
        self.max_pixels = int(parameters["max_pixels"]["string_value"])
        self.load()

    def load(self):
        """Open the graph."""
        self.graph = graph.load(HERE, "model", threads=self.threads, steady_shapes=False, optimise=False)

    def execute(self, requests):
        """Answer the requests that Triton hands over at once."""
        return [self.respond(request) for request in requests]

    def respond(self, request):
        """One request's response, whatever happens."""
        try:
            image, threshold = self.read(request)
        except ValueError as error:
            return refuse(str(error), pb_utils.TritonError.INVALID_ARG)
        try:
            found = self.detect(image, threshold)
        except Exception as error:
            if graph.is_out_of_memory(error):
                self.graph = None  # it may still hold memory; the next request opens it afresh
                return refuse("out of memory: send a smaller image", pb_utils.TritonError.UNAVAILABLE)
            return refuse(f"detecting faces failed: {error}", pb_utils.TritonError.INTERNAL)
        named = found._asdict().items()
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, np.ascontiguousarray(value)) for name, value in named]
        )

    def detect(self, image, threshold):
        """Return the faces of one picture."""
        if self.graph is None:
            self.load()
        given, factor = faces.fit(image)
        maps = self.graph.run({"image": given}, MAPS, shrink=True)
        return faces.decode(*(maps[name][0] for name in MAPS), factor, *image.shape[:2], threshold)

    def read(self, request):
        """The request's picture and threshold, checked. Raises ValueError naming the tensor and the rule."""
        image = tensors.values(request, "image")
        height, width, _ = image.shape
        if not 1 <= height * width <= self.max_pixels:
            raise ValueError(f"image: must have 1 to {self.max_pixels} pixels; {width}x{height} given")
        threshold = float(tensors.first(request, "threshold", THRESHOLD))
        if not 0 < threshold < 1:
            raise ValueError(f"threshold: must be above 0 and below 1; {threshold:g} given")
        return image, threshold


def refuse(message, code):
    """An error response."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
