"""Real-ESRGAN x4: an RGB image of any size -> four times the size, by one of two networks."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils
from tiles import Tiling, upscale  # beside this file, which the backend puts on the path

HERE = Path(__file__).parent
SCALE = 4
DEFAULT_VARIANT = "compact"
# Measured against one whole tile: compact differs by at most one level of 255; x4plus-anime, which sees
# further than any affordable overlap, by 0.1 on average. Its tiles are small because cancellation waits for one.
TILINGS = {
    "compact": Tiling(size=320, margin=8, discard=8, blend=8),
    "x4plus-anime": Tiling(size=160, margin=8, discard=12, blend=12),
}
ALLOCATION_FAILURES = ("bad_alloc", "Failed to allocate", "out of memory")


class TritonPythonModel:
    """image UINT8 [H, W, 3] RGB, variant BYTES [1] (optional) -> image UINT8 [4H, 4W, 3].

    A wrong variant and an image of too many pixels end in INVALID_ARGUMENT, running out of memory in
    UNAVAILABLE, a cancelled request in CANCELLED.
    """

    def initialize(self, args):
        """Load what is needed from the first request on."""
        parameters = {
            key: int(value["string_value"])
            for key, value in json.loads(args["model_config"])["parameters"].items()
        }
        self.threads = parameters["intra_op_threads"]
        self.max_pixels = parameters["max_pixels"]
        self.sessions = {}

    def session(self, variant):
        """The variant's session, loaded when first asked for."""
        if variant not in self.sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self.threads
            # A spinning thread pool takes the cores from the other models' processes.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.enable_mem_pattern = False  # sizes differ from request to request
            self.sessions[variant] = onnxruntime.InferenceSession(
                str(HERE / f"{variant}.onnx"), options, providers=["CPUExecutionProvider"]
            )
        return self.sessions[variant]

    def execute(self, requests):
        """Answer the requests that Triton hands over at once."""
        return [self.respond(request) for request in requests]

    def respond(self, request):
        """One request's response, whatever happens."""
        try:
            image, variant = self.read(request)
            session, options = self.session(variant), onnxruntime.RunOptions()
            # Give the tiles' memory back after each run instead of keeping the largest ever used.
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
            enlarged = upscale(
                image,
                lambda tile: session.run(None, {"image": tile}, options)[0],
                TILINGS[variant],
                SCALE,
                proceed=lambda: not request.is_cancelled(),
            )
        except (ValueError, UnicodeDecodeError) as error:
            return self.refuse(str(error), pb_utils.TritonError.INVALID_ARG)
        except Exception as error:
            if isinstance(error, MemoryError) or any(text in str(error) for text in ALLOCATION_FAILURES):
                self.sessions.clear()  # fresh sessions give back what the failed one still held
                return self.refuse("out of memory: send a smaller image", pb_utils.TritonError.UNAVAILABLE)
            return self.refuse(f"upscaling failed: {error}", pb_utils.TritonError.INTERNAL)
        if enlarged is None:
            return self.refuse("cancelled between two tiles", pb_utils.TritonError.CANCELLED)
        return pb_utils.InferenceResponse([pb_utils.Tensor("image", np.ascontiguousarray(enlarged))])

    def read(self, request):
        """The request's image and variant, checked. Raises ValueError naming the tensor and the rule."""
        image = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        height, width, _ = image.shape
        if not 1 <= height * width <= self.max_pixels:
            raise ValueError(f"image: must have 1 to {self.max_pixels} pixels; {width}x{height} given")
        given = pb_utils.get_input_tensor_by_name(request, "variant")
        variant = given.as_numpy().ravel()[0].decode() if given is not None else DEFAULT_VARIANT
        if variant not in TILINGS:
            raise ValueError(f"variant: must be one of {', '.join(TILINGS)}; {variant!r} given")
        return image, variant

    def refuse(self, message, code):
        """An error response."""
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
