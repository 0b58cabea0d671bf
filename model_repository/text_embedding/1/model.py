"""MiniLM-L6-v2: texts -> sentence embedding, first token states and their mean."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils
from tokenizers import Tokenizer

WORDS = 12  # tokens the image model reads
# A text is padded to the smallest of these that holds it, whatever else is in the batch, so that its
# embedding does not depend on its neighbours to the last bit.
LENGTHS = (WORDS, 32, 64, 128, 256)
PADDING = 0
TOKENS_AT_ONCE = 4096  # bounds the memory of one run; more at once would not be faster


class TritonPythonModel:
    """text BYTES [B, 1] -> embedding FP32 [B, 384], token_states FP32 [B, 12, 384], pooled FP32 [B, 384].

    embedding: L2-normalised mean over up to 256 tokens, the sentence-transformers embedding.
    token_states, pooled: of the text cut to 12 tokens, padding zeroed, and their mean.
    A text that is not UTF-8 ends in INVALID_ARGUMENT.
    """

    def initialize(self, args):
        """Load what is needed from the first request on."""
        parameters = json.loads(args["model_config"])["parameters"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters["intra_op_threads"]["string_value"])
        # A spinning thread pool takes the cores from the other models' processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The graph was optimised when the repository was built.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        here = Path(__file__).parent
        self.session = onnxruntime.InferenceSession(
            str(here / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.tokenizer = Tokenizer.from_file(str(here / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(LENGTHS[-1])
        self.separator = self.tokenizer.token_to_id("[SEP]")

    def execute(self, requests):
        """Answer the requests that Triton hands over at once."""
        responses, texts, rows = [None] * len(requests), [], []
        for index, request in enumerate(requests):
            try:
                own = [
                    cell.decode()
                    for cell in pb_utils.get_input_tensor_by_name(request, "text").as_numpy().ravel()
                ]
            except UnicodeDecodeError as error:
                message = f"text: must be UTF-8: {error}"
                responses[index] = pb_utils.InferenceResponse(
                    error=pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG)
                )
                continue
            rows.append((index, len(texts), len(texts) + len(own)))
            texts += own
        outputs = self.embed(texts) if texts else {}
        for index, start, end in rows:
            tensors = [pb_utils.Tensor(name, values[start:end]) for name, values in outputs.items()]
            responses[index] = pb_utils.InferenceResponse(tensors)
        return responses

    def embed(self, texts):
        """Texts -> the three outputs, each with one row per text."""
        encoded = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        # The image model was trained on texts cut to twelve tokens and closed by a separator.
        cut = [ids if len(ids) <= WORDS else [*ids[: WORDS - 1], self.separator] for ids in encoded]
        long = [index for index, ids in enumerate(encoded) if len(ids) > WORDS]
        states = self.states(cut + [encoded[index] for index in long])
        words, means = states[: len(texts)], [state.mean(0) for state in states]
        token_states = np.zeros((len(texts), WORDS, means[0].shape[0]), np.float32)
        for row, state in enumerate(words):
            token_states[row, : len(state)] = state
        embedding = np.stack(means[: len(texts)])
        pooled = embedding.copy()
        for row, index in enumerate(long):
            embedding[index] = means[len(texts) + row]
        embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
        return {"embedding": embedding, "token_states": token_states, "pooled": pooled}

    def states(self, encoded):
        """Token ids of each text -> its token states [tokens, 384]; texts of one padded length run together."""
        found = [None] * len(encoded)
        for length, shorter in zip(LENGTHS, (0, *LENGTHS), strict=False):
            rows = [row for row, ids in enumerate(encoded) if shorter < len(ids) <= length]
            at_once = max(TOKENS_AT_ONCE // length, 1)
            for start in range(0, len(rows), at_once):
                self.run(encoded, rows[start : start + at_once], length, found)
        return found

    def run(self, encoded, rows, length, found):
        """Put the token states of these rows of `encoded` into `found`."""
        ids = np.full((len(rows), length), PADDING, np.int64)
        mask = np.zeros((len(rows), length), np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(encoded[row])] = encoded[row]
            mask[place, : len(encoded[row])] = 1
        (states,) = self.session.run(["states"], {"ids": ids, "mask": mask})
        for place, row in enumerate(rows):
            found[row] = states[place, : len(encoded[row])]
