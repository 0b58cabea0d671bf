"""The house text-to-image model: decoupled, one response per denoising step, cancellable before each."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import BoundedSemaphore

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


class TritonPythonModel:
    def initialize(self, args):
        parameters = {key: int(value["string_value"]) for key, value in json.loads(args["model_config"])["parameters"].items()}
        self.threads = parameters["intra_op_threads"]
        self.session = self.load()
        self.pool = ThreadPoolExecutor(parameters["concurrency"], "draw")
        self.room = BoundedSemaphore(parameters["concurrency"] + parameters["queue_size"])

    def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        # A spinning thread pool takes the cores from the other models' processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The graph was optimised when the repository was built.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(str(HERE / "model.onnx"), options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        # Each drawing runs in a thread of its own, so that this instance goes on taking requests.
        for request in requests:
            sender = request.get_response_sender()
            if self.room.acquire(blocking=False):
                self.pool.submit(self.serve, request, sender)
            else:
                self.refuse(sender, "the queue is full; try again later", pb_utils.TritonError.UNAVAILABLE)

    def serve(self, request, sender):
        try:
            self.draw(request, sender)
        except (ValueError, UnicodeDecodeError) as error:
            self.refuse(sender, str(error), pb_utils.TritonError.INVALID_ARG)
        except Exception as error:
            if isinstance(error, MemoryError) or any(text in str(error) for text in ALLOCATION_FAILURES):
                self.session = self.load()  # a fresh session gives back what the failed one still held
                self.refuse(sender, "out of memory: ask for fewer images at once", pb_utils.TritonError.UNAVAILABLE)
            else:
                self.refuse(sender, f"drawing failed: {error}", pb_utils.TritonError.INTERNAL)
        finally:
            self.room.release()

    def draw(self, request, sender):
        if request.is_cancelled():
            return self.refuse(sender, "cancelled before the first step", pb_utils.TritonError.CANCELLED)
        drawing = read_drawing(request)
        words, pooled = self.embed(drawing.prompt, drawing.negative_prompt)
        steps = denoise(drawing, words, pooled, self.predict)
        for done in range(drawing.steps):
            # Asked before the step is computed: a cancelled request costs at most the step in progress.
            if request.is_cancelled():
                return self.refuse(sender, f"cancelled after step {done} of {drawing.steps}", pb_utils.TritonError.CANCELLED)
            step, preview, images = next(steps)
            tensors = [
                pb_utils.Tensor("step", np.array([step, drawing.steps], np.int32)),
                pb_utils.Tensor("preview", preview),
                pb_utils.Tensor("images", images),
            ]
            sender.send(pb_utils.InferenceResponse(tensors), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if step == drawing.steps else 0)

    def predict(self, z, t, words, pooled):
        return self.session.run(["x"], {"z": z, "t": t, "words": words, "pooled": pooled})[0]

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
            pb_utils.get_output_tensor_by_name(response, name).as_numpy() for name in ("token_states", "pooled")
        )

    @staticmethod
    def refuse(sender, message, code):
        sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code)), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def finalize(self):
        self.pool.shutdown(wait=False, cancel_futures=True)
