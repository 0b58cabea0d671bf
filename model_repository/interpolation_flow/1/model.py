"""Interpolation by optical flow: two frames -> the frames at any times between them."""

import json

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

# Beside this file, which the backend puts on the path.
from flow import between
from tensors import Cancelled, stop_if_cancelled, values

MOST_SIDE = 32766  # pixels: OpenCV's remap counts them in 16 bits
OUT_OF_MEMORY = "Insufficient memory"  # as OpenCV says it


class TritonPythonModel:
    """first, second UINT8 [H, W, 3] RGB, times FP32 [n] in (0, 1) -> frames UINT8 [n, H, W, 3].

    Pictures of different sizes, times outside (0, 1) and too many pixels end in INVALID_ARGUMENT, running out of memory
    in UNAVAILABLE, a cancelled request in CANCELLED, before its next frame.
    """

    def initialize(self, args):
        """Read the limits; there are no weights."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.max_pixels = int(parameters["max_pixels"]["string_value"])
        cv2.setNumThreads(int(parameters["threads"]["string_value"]))

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
            frames = []
            stop_if_cancelled(request, "before it began")
            for frame in between(first, second, times):
                stop_if_cancelled(request, "between two frames")
                frames.append(frame)
            made = np.stack(frames)
        except Cancelled as gone:
            return refuse(str(gone), codes.CANCELLED)
        except Exception as error:
            if isinstance(error, MemoryError) or OUT_OF_MEMORY in str(error):
                return refuse("out of memory: send smaller frames or fewer times", codes.UNAVAILABLE)
            return refuse(f"interpolating failed: {error}", codes.INTERNAL)
        return pb_utils.InferenceResponse([pb_utils.Tensor("frames", made)])

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
        if max(height, width) > MOST_SIDE:
            raise ValueError(f"first: must be at most {MOST_SIDE} pixels a side; {width}x{height} given")
        if not len(times) or not ((times > 0) & (times < 1)).all():
            raise ValueError("times: must hold at least one number, each above 0 and below 1")
        return first, second, times


def refuse(message, code):
    """An error response."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
