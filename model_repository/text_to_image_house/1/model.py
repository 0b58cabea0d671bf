"""The house text-to-image model: decoupled, one response per denoising step, cancellable before each."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import BoundedSemaphore, Lock

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils
from sampler import Drawing, denoise  # beside this file, which the backend puts on the path

HERE = Path(__file__).parent
ALLOCATION_FAILURES = ("bad_alloc", "Failed to allocate", "out of memory")


def first(request, name, default=None):
    """The single value of a tensor of shape [1]. Raises ValueError when it is missing or not single."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        if default is None:
            raise ValueError(f"{name}: is required")
        return default
    values = tensor.as_numpy().ravel()
    if len(values) != 1:
        raise ValueError(f"{name}: must hold one value; {len(values)} given")
    return values[0]


def read_drawing(request):
    """The request's tensors, checked. Raises ValueError naming the tensor and the rule."""
    seeds = pb_utils.get_input_tensor_by_name(request, "seeds").as_numpy().ravel()
    return Drawing(
        prompt=first(request, "prompt").decode(),
        negative_prompt=first(request, "negative_prompt", b"").decode(),
        seeds=tuple(int(seed) for seed in seeds),
        steps=int(first(request, "steps")),
        guidance_scale=float(first(request, "guidance_scale")),
        preview_every=int(first(request, "preview_every", 0)),
    )


class Cancelled(Exception):  # noqa: N818 - not an error
    """The caller has gone."""


def stop_if_cancelled(request, done):
    """Raise Cancelled if the caller cancelled, went away or ran out of time."""
    if request.is_cancelled():
        raise Cancelled(f"cancelled after {done} steps")


def end(sender, message, code):
    """Close a request with an error."""
    try:
        error = pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
        sender.send(error, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    except Exception:
        # A caller that never hears the end waits for ever. Without this process Triton fails its requests
        # at once, and the supervisor starts another.
        os._exit(1)


class TritonPythonModel:
    """One response per step: step INT32 [2] = (k, n), preview UINT8 [B or 0, 64, 64, 3], images likewise.

    Inputs, limits: `sampler.Drawing`; breaking one ends in INVALID_ARGUMENT. A full queue and running out of
    memory end in UNAVAILABLE, a cancelled request in CANCELLED. A stream carries an error's text alone: do
    not ask for its code with the header `triton_grpc_error`, which has crashed the server (2.51).
    The same seed gives the same picture to the last bit, whatever else is drawn with it.
    """

    def initialize(self, args):
        """Load what is needed from the first request on."""
        parameters = {
            key: int(value["string_value"])
            for key, value in json.loads(args["model_config"])["parameters"].items()
        }
        self.threads = parameters["intra_op_threads"]
        self.loading = Lock()
        self.loaded = self.load()
        self.pool = ThreadPoolExecutor(parameters["concurrency"], "draw")
        self.room = BoundedSemaphore(parameters["concurrency"] + parameters["queue_size"])

    def session(self):
        """The session on the network, loaded again after it was given up."""
        with self.loading:
            if self.loaded is None:
                self.loaded = self.load()
            return self.loaded

    def load(self):
        """A session on the network."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        # A spinning thread pool takes the cores from the other models' processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The graph was optimised when the repository was built.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(
            str(HERE / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def execute(self, requests):
        """Take the requests; each is drawn in a thread of the pool, so that this returns at once."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                drawing = read_drawing(request)
            except ValueError as error:
                end(sender, str(error), pb_utils.TritonError.INVALID_ARG)
                continue
            if not self.room.acquire(blocking=False):
                end(sender, "the queue is full; try again later", pb_utils.TritonError.UNAVAILABLE)
                continue
            self.pool.submit(self.serve, request, drawing, sender)

    def serve(self, request, drawing, sender):
        """Draw one request to its end, whatever that is: exactly one final response."""
        try:
            self.draw(request, drawing, sender)
        except Cancelled as cancelled:
            end(sender, str(cancelled), pb_utils.TritonError.CANCELLED)
        except Exception as error:
            if isinstance(error, MemoryError) or any(text in str(error) for text in ALLOCATION_FAILURES):
                # The next request loads it afresh, without what the failed run still holds.
                self.loaded = None
                end(sender, "out of memory: ask for fewer images at once", pb_utils.TritonError.UNAVAILABLE)
            else:
                end(sender, f"drawing failed: {error}", pb_utils.TritonError.INTERNAL)
            pb_utils.Logger.log_error(f"drawing failed: {error!r}")
        finally:
            self.room.release()

    def draw(self, request, drawing, sender):
        """Send a response for each step. Raises Cancelled."""
        stop_if_cancelled(request, 0)
        words, pooled = self.embed(drawing.prompt, drawing.negative_prompt)
        steps = denoise(drawing, words, pooled, self.predict)
        for done in range(drawing.steps):
            # Asked before the step is computed: a cancelled request costs at most the step in progress.
            stop_if_cancelled(request, done)
            step, preview, images = next(steps)
            tensors = [
                pb_utils.Tensor("step", np.array([step, drawing.steps], np.int32)),
                pb_utils.Tensor("preview", preview),
                pb_utils.Tensor("images", images),
            ]
            last = step == drawing.steps
            flags = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0
            sender.send(pb_utils.InferenceResponse(tensors), flags=flags)

    def predict(self, z, t, words, pooled):
        """The network: see `sampler.denoise`."""
        return self.session().run(["x"], {"z": z, "t": t, "words": words, "pooled": pooled})[0]

    def embed(self, prompt, negative_prompt):
        """token_states [2, 12, 384] and pooled [2, 384] of both texts, from the text model in this server."""
        texts = np.array([[prompt.encode()], [negative_prompt.encode()]], np.object_)
        response = pb_utils.InferenceRequest(
            model_name="text_embedding",
            requested_output_names=["token_states", "pooled"],
            inputs=[pb_utils.Tensor("text", texts)],
        ).exec()
        if response.has_error():
            raise RuntimeError(f"text_embedding: {response.error().message()}")
        return tuple(
            pb_utils.get_output_tensor_by_name(response, name).as_numpy()
            for name in ("token_states", "pooled")
        )

    def finalize(self):
        """Let go of what waits; Triton calls this on unloading."""
        self.pool.shutdown(wait=False, cancel_futures=True)
