"""SmolLM2-135M-Instruct: a talk -> its answer, written freely or chosen among some."""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

# Beside this file, which the backend puts on the path.
from answers import score, write
from network import MOST_TOKENS, Network

ROLES = ("system", "user", "assistant")
MOST_CHOICES = 64
MOST_STOPS = 8
MOST_TEMPERATURE = 2.0
LEFT_FOR_ANSWER = 256  # tokens: no talk may take the room of the longest answer
NO_SCORES = np.zeros((1, 0), np.float32)


class Cancelled(Exception):  # noqa: N818 - not an error
    """Nobody waits for the answer any more."""


class TritonPythonModel:
    """A talk -> text BYTES [1, 1], ended BOOL [1, 1], or scores FP32 [1, C] where there is something to choose.

    The talk is roles and contents BYTES [1, N]; how to go on are most_tokens INT32, temperature FP32 and seed INT64
    [1, 1] and stop BYTES [1, S], each optional; what to choose among is choices BYTES [1, C].

    Wrong inputs end in INVALID_ARGUMENT, a cancelled request in CANCELLED at the next token.
    """

    def initialize(self, args):
        """Load what is needed from the first request on."""
        parameters = json.loads(args["model_config"])["parameters"]
        threads = int(parameters["intra_op_threads"]["string_value"])
        self.network = Network(Path(__file__).parent, threads)

    def execute(self, requests):
        """Answer the requests one after another; Triton hands over one at a time."""
        return [self.answer(request) for request in requests]

    def answer(self, request):
        """One request -> its response."""

        def check():
            if request.is_cancelled():
                raise Cancelled

        try:
            talk = self.talk(request)
            choices = texts(request, "choices")
            if choices:
                return response(scores=self.scores(talk, choices, check))
            return response(*self.written(request, talk, check))
        except ValueError as error:
            return failed(str(error), pb_utils.TritonError.INVALID_ARG)
        except Cancelled:
            return failed("the request was cancelled", pb_utils.TritonError.CANCELLED)
        except MemoryError:
            return failed("out of memory", pb_utils.TritonError.UNAVAILABLE)

    def talk(self, request):
        """The request's messages as tokens, checked."""
        roles, contents = texts(request, "roles"), texts(request, "contents")
        if not roles or len(roles) != len(contents):
            raise ValueError(f"roles: must be as many as contents, at least 1; {len(roles)} given")
        if wrong := set(roles) - set(ROLES):
            raise ValueError(f"roles: must be of {', '.join(ROLES)}; {min(wrong)!r} given")
        talk = self.network.talk(list(zip(roles, contents, strict=True)))
        most, given = MOST_TOKENS - LEFT_FOR_ANSWER, sum(map(len, talk))
        if given > most:
            raise ValueError(f"contents: must have at most {most} tokens together; {given} given")
        return talk

    def scores(self, talk, choices, check):
        """The score of each choice, checked."""
        if not 2 <= len(choices) <= MOST_CHOICES or not all(choices):
            raise ValueError(f"choices: must be 2 to {MOST_CHOICES}, none empty; {len(choices)} given")
        if max(len(self.network.encode(choice)) for choice in choices) >= LEFT_FOR_ANSWER:
            raise ValueError(f"choices: must have fewer than {LEFT_FOR_ANSWER} tokens each")
        return score(self.network, talk, choices, check)

    def written(self, request, talk, check):
        """The text and whether it ended, checked."""
        most_tokens = int(number(request, "most_tokens", LEFT_FOR_ANSWER))
        temperature = float(number(request, "temperature", 0.0))
        seed = int(number(request, "seed", 0))
        stop = texts(request, "stop")
        if not 1 <= most_tokens <= LEFT_FOR_ANSWER:
            raise ValueError(f"most_tokens: must be 1 to {LEFT_FOR_ANSWER}; {most_tokens} given")
        if not 0 <= temperature <= MOST_TEMPERATURE:  # false for NaN
            raise ValueError(f"temperature: must be 0 to {MOST_TEMPERATURE:g}; {temperature:g} given")
        if seed < 0:
            raise ValueError(f"seed: must be at least 0; {seed} given")
        if len(stop) > MOST_STOPS or not all(stop):
            raise ValueError(f"stop: must be at most {MOST_STOPS}, none empty; {len(stop)} given")
        return write(self.network, talk, most_tokens, temperature, seed, stop, check)


def texts(request, name):
    """The texts of an input; none where it is not given."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    try:
        return [cell.decode() for cell in tensor.as_numpy().ravel()] if tensor is not None else []
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: must be UTF-8: {error}") from error


def number(request, name, default):
    """The number in an input, or the default where it is not given."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return default if tensor is None else tensor.as_numpy().ravel()[0]


def response(text="", ended=True, scores=None):
    """The three outputs."""
    return pb_utils.InferenceResponse(
        [
            pb_utils.Tensor("text", np.array([[text.encode()]], np.object_)),
            pb_utils.Tensor("ended", np.array([[ended]], np.bool_)),
            pb_utils.Tensor("scores", NO_SCORES if scores is None else scores[None]),
        ]
    )


def failed(message, code):
    """A response that is an error."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
