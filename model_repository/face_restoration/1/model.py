"""Aligned faces -> the same faces restored, by the network whose graphs lie beside this file."""

import json
from pathlib import Path

import graph
import networks
import numpy as np
import tensors
import triton_python_backend_utils as pb_utils

HERE = Path(__file__).parent
LEVELS = 127.5  # half of 255: pixels to [-1, 1] and back


class TritonPythonModel:
    """faces UINT8 [N, 512, 512, 3] RGB aligned to FFHQ, fidelity FP32 [1] (optional, 0) -> faces UINT8 alike.

    Too many faces and a fidelity outside [0, 1] end in INVALID_ARGUMENT, running out of memory in UNAVAILABLE, a
    cancelled request in CANCELLED before the next face.
    """

    def initialize(self, args):
        """Load the network."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.threads = int(parameters["intra_op_threads"]["string_value"])
        self.max_faces = int(parameters["max_faces"]["string_value"])
        self.load()

    def load(self):
        """Open the network."""
        self.network = networks.load(HERE, self.threads)

    def execute(self, requests):
        """Answer the requests that Triton hands over at once."""
        return [self.respond(request) for request in requests]

    def respond(self, request):
        """One request's response, whatever happens."""
        codes = pb_utils.TritonError
        try:
            faces, fidelity = self.read(request)
        except ValueError as error:
            return refuse(str(error), codes.INVALID_ARG)
        restored = np.empty_like(faces)
        try:
            for index, face in enumerate(faces):
                tensors.stop_if_cancelled(request, f"after {index} of {len(faces)} faces")
                restored[index] = self.restore(face, fidelity)
        except tensors.Cancelled as error:
            return refuse(str(error), codes.CANCELLED)
        except Exception as error:
            if graph.is_out_of_memory(error):
                self.network = None  # it may still hold memory; the next request opens it afresh
                return refuse("out of memory: send fewer faces", codes.UNAVAILABLE)
            return refuse(f"restoring faces failed: {error}", codes.INTERNAL)
        return pb_utils.InferenceResponse([pb_utils.Tensor("faces", restored)])

    def restore(self, face, fidelity):
        """One face of pixels, restored."""
        if self.network is None:
            self.load()
        given = face.transpose(2, 0, 1)[None].astype(np.float32) / LEVELS - 1
        made = self.network.restore(np.ascontiguousarray(given), fidelity)[0].transpose(1, 2, 0)
        return np.clip(np.rint((made + 1) * LEVELS), 0, 255)

    def read(self, request):
        """The request's faces and fidelity, checked. Raises ValueError naming the tensor and the rule."""
        faces = tensors.values(request, "faces")
        if not 1 <= len(faces) <= self.max_faces:
            raise ValueError(f"faces: must be 1 to {self.max_faces}; {len(faces)} given")
        fidelity = float(tensors.first(request, "fidelity", 0.0))
        if not 0 <= fidelity <= 1:
            raise ValueError(f"fidelity: must be 0 to 1; {fidelity:g} given")
        return faces, fidelity


def refuse(message, code):
    """An error response."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
