"""A picture classifier: an RGB picture of any size -> its labels, and how likely each is."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

HERE = Path(__file__).parent


class TritonPythonModel:
    """image UINT8 [H, W, 3] RGB -> labels STRING [N], probabilities FP32 [N]; with exclusive labels the sum is 1.

    The whole picture is squeezed to the square that the network reads: cutting out the centre would hide the borders.
    A picture of too many pixels ends in INVALID_ARGUMENT.
    """

    def initialize(self, args):
        """Load the network and what its publisher says of it."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.max_pixels = int(parameters["max_pixels"]["string_value"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters["intra_op_threads"]["string_value"])
        # A spinning thread pool takes the cores from the other models' processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            str(HERE / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0].name
        told = json.loads((HERE / "classifier.json").read_text(encoding="utf-8"))
        self.side, self.exclusive, self.output = told["side"], told["exclusive"], told["output"]
        self.mean, self.deviation = (np.array(told[key], np.float32) for key in ("mean", "deviation"))
        self.labels = np.array([label.encode() for label in told["labels"]], np.object_)

    def execute(self, requests):
        """Answer the requests that Triton hands over at once."""
        return [self.respond(request) for request in requests]

    def respond(self, request):
        """One request's response."""
        image = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        height, width, _ = image.shape
        if not 1 <= height * width <= self.max_pixels:
            message = f"image: must have 1 to {self.max_pixels} pixels; {width}x{height} given"
            return pb_utils.InferenceResponse(
                error=pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG)
            )
        outputs = [
            pb_utils.Tensor("labels", self.labels),
            pb_utils.Tensor("probabilities", self.classify(image)),
        ]
        return pb_utils.InferenceResponse(outputs)

    def classify(self, image):
        """The labels' probabilities for one picture."""
        shrinks = min(image.shape[:2]) > self.side
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        small = cv2.resize(np.ascontiguousarray(image), (self.side, self.side), interpolation=how)
        given = (small.astype(np.float32) - self.mean) / self.deviation
        (logits,) = self.session.run([self.output], {self.input: given.transpose(2, 0, 1)[None]})
        if not self.exclusive:
            return (1 / (1 + np.exp(-logits[0]))).astype(np.float32)
        powers = np.exp(logits[0] - logits[0].max())
        return (powers / powers.sum()).astype(np.float32)
