"""nsfwjs: RGB images of 224x224 -> how likely each is a drawing, hentai, neutral, porn or sexy."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """image UINT8 [B, 224, 224, 3] RGB -> probabilities FP32 [B, 5]; the five of an image have the sum 1."""

    def initialize(self, args):
        """Load what is needed from the first request on."""
        parameters = json.loads(args["model_config"])["parameters"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters["intra_op_threads"]["string_value"])
        # A spinning thread pool takes the cores from the other models' processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            str(Path(__file__).with_name("model.onnx")), options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0].name

    def execute(self, requests):
        """Answer the requests that Triton hands over at once."""
        images = [pb_utils.get_input_tensor_by_name(request, "image").as_numpy() for request in requests]
        batch = np.concatenate(images).astype(np.float32) / 255
        (shares,) = self.session.run(None, {self.input: batch})
        answers = np.split(shares, np.cumsum([len(image) for image in images])[:-1])
        return [pb_utils.InferenceResponse([pb_utils.Tensor("probabilities", rows)]) for rows in answers]
