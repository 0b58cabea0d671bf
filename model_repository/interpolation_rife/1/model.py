"""Interpolation by RIFE: two frames -> the frames at any times between them."""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

# Beside this file, which the backend puts on the path.
from graph import is_out_of_memory, load
from tensors import Cancelled, stop_if_cancelled, values

HERE = Path(__file__).parent
MULTIPLE = 32  # of the sides that the network takes


class TritonPythonModel:
    """first, second UINT8 [H, W, 3] RGB, times FP32 [n] in (0, 1) -> frames UINT8 [n, H, W, 3].

    Pictures of different sizes, times outside (0, 1) and too many pixels end in INVALID_ARGUMENT, running out of memory
    in UNAVAILABLE, a cancelled request in CANCELLED, before its next frame.
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
        """Open the graph."""
        self.graph = load(HERE, "between", threads=self.threads, steady_shapes=False)

    def execute(self, requests):
        """Answer the requests that Triton hands over at once."""
        return [self.respond(request) for request in requests]

    def respond(self, request):
        """One request's response, whatever happens."""
        codes = pb_utils.TritonError
        try:
            first, second, times = self.read(request)
        except ValueError as error:
            return refuse(str(error), codes.INVALID_ARG)
        try:
            made = np.stack(list(self.between(request, first, second, times)))
        except Cancelled as gone:
            return refuse(str(gone), codes.CANCELLED)
        except Exception as error:
            if is_out_of_memory(error):
                self.graph = None  # it may still hold memory; the next request opens it afresh
                return refuse("out of memory: send smaller frames or fewer times", codes.UNAVAILABLE)
            return refuse(f"interpolating failed: {error}", codes.INTERNAL)
        return pb_utils.InferenceResponse([pb_utils.Tensor("frames", made)])

    def between(self, request, first, second, times):
        """One frame for each time. Raises Cancelled before the next one of a caller who has gone."""
        if self.graph is None:
            self.load()
        height, width, _ = first.shape
        feed = {"first": prepare(first), "second": prepare(second)}
        for time in times:
            stop_if_cancelled(request, "between two frames")
            (frame,) = self.graph.run(feed | {"time": np.array([time], np.float32)}, shrink=True).values()
            shown = frame[0].transpose(1, 2, 0)[:height, :width]
            yield np.clip(np.rint(shown * 255), 0, 255).astype(np.uint8)

    def read(self, request):
        """The request's frames and times, checked. Raises ValueError naming the tensor and the rule."""
        first, second, times = (values(request, name) for name in ("first", "second", "times"))
        height, width, _ = first.shape
        if second.shape != first.shape:
            given = f"{second.shape[1]}x{second.shape[0]}"
            raise ValueError(f"second: must be as large as first, {width}x{height}; {given} given")
        if not 1 <= height * width * max(1, len(times)) <= self.max_pixels:
            rule = f"must have 1 to {self.max_pixels} pixels, all frames between them together"
            raise ValueError(f"first: {rule}; {width}x{height} and {len(times)} times given")
        if not len(times) or not ((times > 0) & (times < 1)).all():
            raise ValueError("times: must hold at least one number, each above 0 and below 1")
        return first, second, times


def prepare(picture):
    """UINT8 [H, W, 3] -> FP32 [1, 3, h, w] in [0, 1], its border continued to sides that the network takes."""
    height, width, _ = picture.shape
    padded = np.pad(picture, ((0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0)), "edge")
    return np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32) / 255


def refuse(message, code):
    """An error response."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
