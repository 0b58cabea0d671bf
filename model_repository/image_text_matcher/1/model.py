"""The house matcher: pictures and sentence embeddings into one space, where their cosine says how well they agree."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

# input -> (graph, output)
TOWERS = {"image": ("model.onnx", "embedding"), "text_embedding": ("text_projection.onnx", "text")}


class TritonPythonModel:
    """image UINT8 [B, 128, 128, 3] RGB -> embedding FP32 [B, 256]; text_embedding FP32 [B, 384] -> text FP32 [B, 256].

    Either input or both; each output is L2-normalised and there when its input is.
    """

    def initialize(self, args):
        """Load what is needed from the first request on."""
        parameters = json.loads(args["model_config"])["parameters"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters["intra_op_threads"]["string_value"])
        # A spinning thread pool takes the cores from the other models' processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.sessions = {
            name: onnxruntime.InferenceSession(
                str(Path(__file__).with_name(graph)), options, providers=["CPUExecutionProvider"]
            )
            for name, (graph, _) in TOWERS.items()
        }

    def execute(self, requests):
        """Answer the requests that Triton hands over at once."""
        tensors = [[] for _ in requests]
        for name, (_, output) in TOWERS.items():
            given = [pb_utils.get_input_tensor_by_name(request, name) for request in requests]
            rows = [(index, tensor.as_numpy()) for index, tensor in enumerate(given) if tensor is not None]
            if not rows:
                continue
            (vectors,) = self.sessions[name].run(
                [output], {name: np.concatenate([values for _, values in rows])}
            )
            ends = np.cumsum([len(values) for _, values in rows])
            for (index, _), own in zip(rows, np.split(vectors, ends[:-1]), strict=True):
                tensors[index].append(pb_utils.Tensor(output, own))
        return [pb_utils.InferenceResponse(own) if own else _refusal() for own in tensors]


def _refusal():
    message = f"one of the inputs {', '.join(TOWERS)} is required"
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG))
