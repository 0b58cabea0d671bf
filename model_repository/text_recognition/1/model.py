"""PP-OCR's recogniser: lines of text, laid straight -> their characters."""

import json
from pathlib import Path

import ctc  # beside this file, which the backend puts on the path
import graph
import numpy as np
import tensors
import triton_python_backend_utils as pb_utils

HERE = Path(__file__).parent
NARROWEST = 8  # pixels of one step of the network


class TritonPythonModel:
    """line UINT8 [B, 48, W, 3] RGB -> text BYTES [B, 1] in UTF-8, confidence FP32 [B, 1]: the characters' mean, or 0.

    Lines that are too wide or too narrow end in INVALID_ARGUMENT, running out of memory in UNAVAILABLE.
    """

    def initialize(self, args):
        """Load the network and its characters."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.threads = int(parameters["intra_op_threads"]["string_value"])
        self.widest = int(parameters["widest"]["string_value"])
        listed = (HERE / "characters.txt").read_text(encoding="utf-8")
        self.characters = [*listed.removesuffix("\n").split("\n"), " "]
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
        batch = tensors.values(request, "line")
        if not NARROWEST <= batch.shape[2] <= self.widest:
            message = f"line: must be {NARROWEST} to {self.widest} pixels wide; {batch.shape[2]} given"
            return refuse(message, pb_utils.TritonError.INVALID_ARG)
        try:
            read = self.read(batch)
        except Exception as error:
            if graph.is_out_of_memory(error):
                self.graph = None  # it may still hold memory; the next request opens it afresh
                return refuse("out of memory: send fewer lines", pb_utils.TritonError.UNAVAILABLE)
            return refuse(f"reading text failed: {error}", pb_utils.TritonError.INTERNAL)
        texts = np.array([[text.encode()] for text, _ in read], np.object_)
        sure = np.array([[confidence] for _, confidence in read], np.float32)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("text", texts), pb_utils.Tensor("confidence", sure)]
        )

    def read(self, batch):
        """Each line's text and how sure it is; the network reads BGR in [-1, 1]."""
        if self.graph is None:
            self.load()
        values = batch[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
        steps = self.graph.run({self.given: values})[self.made]
        return [ctc.decode(each, self.characters) for each in steps]


def refuse(message, code):
    """An error response."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
