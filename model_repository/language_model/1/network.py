"""The network: tokens after tokens -> what comes next. Knows nothing of Triton."""

import json
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

MOST_TOKENS = 2048  # that a talk and its answer may have together; the graph has angles for as many
REMEMBERED = 8  # openings of talks; each takes 46 KB a token
OPENING_TOKENS = 512  # longest that is remembered


class Read(NamedTuple):
    """What the network has read: how many tokens, and what it keeps of them, which no call changes."""

    tokens: int
    kept: dict


class Network:
    """A session and its vocabulary. Equal calls in equal order give equal numbers."""

    def __init__(self, directory, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # A spinning thread pool takes the cores from the other models' processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The graph was optimised when the repository was built.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        graph = str(directory / "model.onnx")
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]
        past = [one for one in self.session.get_inputs() if one.name.startswith("past_")]
        _, groups, _, size = past[0].shape
        nothing = _value(np.zeros((1, groups, 0, size), np.float32))
        self.nothing = Read(0, {one.name.removeprefix("past_"): nothing for one in past})
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        marks = json.loads((directory / "chat.json").read_text())
        self.begin, self.end = marks["begin"], marks["end"]
        self.ends = {marks["end"], marks["stop"]}
        self.openings = OrderedDict()

    def talk(self, messages):
        """Tokens of (role, content) pairs: of all but the last, and of the last and the beginning of an answer.

        A content's marks are mere letters.
        """
        *first, last = (
            [self.begin, *self.encode(f"{role}\n{content}"), self.end, *self.encode("\n")]
            for role, content in messages
        )
        return [token for message in first for token in message], [
            *last,
            self.begin,
            *self.encode("assistant\n"),
        ]

    def hear(self, talk):
        """Read a talk -> logits FP32 [1, vocabulary] after it, and what was read.

        Its opening, how to answer and examples, is the same in many talks and read once; what was asked last is never
        kept. Both are read apart in any case, so that the numbers do not depend on what is remembered.
        """
        opening, last = talk
        return self.read(last, self.opened(tuple(opening)))

    def opened(self, opening):
        """Read an opening, or remember it."""
        if not opening:
            return self.nothing
        if opening in self.openings:
            self.openings.move_to_end(opening)
            return self.openings[opening]
        _, read = self.read(opening, self.nothing)
        if len(opening) <= OPENING_TOKENS:
            self.openings[opening] = read
            if len(self.openings) > REMEMBERED:
                self.openings.popitem(last=False)
        return read

    def encode(self, text):
        """Text -> tokens."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, tokens):
        """Tokens -> text."""
        return self.tokenizer.decode(tokens)

    def read(self, tokens, before, predictions=1):
        """Read tokens after others -> logits FP32 [predictions, vocabulary] after the last ones, and what was read."""
        total = before.tokens + len(tokens)
        feed = {
            "ids": _value(np.array([tokens], np.int64)),
            "wanted": _value(np.arange(len(tokens) - predictions, len(tokens), dtype=np.int64)),
            "last": _value(np.array([total - 1], np.int32)),
            "total": _value(np.array(total, np.int32)),
        }
        feed |= {f"past_{name}": value for name, value in before.kept.items()}
        logits, *kept = self.session.run_with_ort_values(self.outputs, feed)
        return logits.numpy(), Read(total, dict(zip(self.outputs[1:], kept, strict=True)))


def _value(array):
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)
