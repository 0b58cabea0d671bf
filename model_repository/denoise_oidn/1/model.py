"""Open Image Denoise on photographs: an RGB image of any size -> the same, less noisy."""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

# Beside this file, which the backend puts on the path.
from denoising import denoise
from oidn import CANCELLED, OUT_OF_MEMORY, Denoiser, OidnError

HERE = Path(__file__).parent


class TritonPythonModel:
    """image UINT8 [H, W, 3] RGB -> image UINT8 [H, W, 3].

    An image of too many pixels ends in INVALID_ARGUMENT, running out of memory in UNAVAILABLE, a cancelled request in
    CANCELLED.
    """

    def initialize(self, args):
        """Load the library, whose network is inside it."""
        parameters = {
            key: int(value["string_value"])
            for key, value in json.loads(args["model_config"])["parameters"].items()
        }
        self.parameters, self.max_pixels = parameters, parameters["max_pixels"]
        self.load()

    def load(self):
        """Open a device."""
        self.denoiser = Denoiser(
            HERE, threads=self.parameters["threads"], memory_mib=self.parameters["memory_mib"]
        )

    def execute(self, requests):
        """Answer the requests that Triton hands over at once."""
        return [self.respond(request) for request in requests]

    def respond(self, request):
        """One request's response, whatever happens."""
        image = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        height, width, _ = image.shape
        codes = pb_utils.TritonError
        if not 1 <= height * width <= self.max_pixels:
            rule = f"image: must have 1 to {self.max_pixels} pixels; {width}x{height} given"
            return refuse(rule, codes.INVALID_ARG)
        if request.is_cancelled():
            return refuse("cancelled before it began", codes.CANCELLED)
        try:
            if self.denoiser is None:
                self.load()
            cleaned = denoise(
                image, lambda colour: self.denoiser.denoise(colour, lambda: not request.is_cancelled())
            )
        except Exception as error:
            code = getattr(error, "code", None) if isinstance(error, OidnError) else None
            if code == CANCELLED:
                return refuse("cancelled while denoising", codes.CANCELLED)
            if code == OUT_OF_MEMORY or isinstance(error, MemoryError):
                self.finalize()  # it may still hold memory; the next request opens a device afresh
                return refuse("out of memory: send a smaller image", codes.UNAVAILABLE)
            return refuse(f"denoising failed: {error}", codes.INTERNAL)
        return pb_utils.InferenceResponse([pb_utils.Tensor("image", np.ascontiguousarray(cleaned))])

    def finalize(self):
        """Give the device back."""
        if self.denoiser is not None:
            self.denoiser.close()
        self.denoiser = None


def refuse(message, code):
    """An error response."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
