"""The house text-to-image model: decoupled, one response per denoising step, cancellable before each."""

import json
from pathlib import Path
from threading import BoundedSemaphore, Lock

import numpy as np
import triton_python_backend_utils as pb_utils

# Beside this file, which the backend puts on the path.
from batching import Batcher, Closed, start_threads
from graph import is_out_of_memory, load
from sampler import SIZE, Drawing, denoise
from tensors import end, end_with, first, send, stop_if_cancelled, text, values

HERE = Path(__file__).parent


def read_drawing(request):
    """The request's tensors, checked. Raises ValueError naming the tensor and the rule."""
    return Drawing(
        prompt=text(request, "prompt"),
        negative_prompt=text(request, "negative_prompt", ""),
        seeds=tuple(int(seed) for seed in values(request, "seeds").ravel()),
        steps=int(first(request, "steps")),
        guidance_scale=float(first(request, "guidance_scale")),
        preview_every=int(first(request, "preview_every", 0)),
    )


class TritonPythonModel:
    """One response per step: step INT32 [2] = (k, n), preview UINT8 [B or 0, 64, 64, 3], images likewise.

    Inputs, limits: `sampler.Drawing`; breaking one ends in INVALID_ARGUMENT. A full queue and running out of
    memory end in UNAVAILABLE, a cancelled request in CANCELLED. A stream carries an error's text alone: do
    not ask for its code with the header `triton_grpc_error`, which has crashed the server (2.51).

    Requests that are drawn at the same time share network calls, whatever step each is at, in batches of at most
    `max_batch` rows (a picture with guidance is two); none gets ahead of another. The same seed gives the same
    picture to the last bit, whatever else is drawn with it: the CPU provider computes each row by itself.
    """

    def initialize(self, args):
        """Load what is needed from the first request on."""
        parameters = {
            key: int(value["string_value"])
            for key, value in json.loads(args["model_config"])["parameters"].items()
        }
        self.threads, self.max_batch = parameters["intra_op_threads"], parameters["max_batch"]
        self.loading = Lock()
        self.loaded = None
        self.network()
        self.batcher = Batcher(
            self.predict,
            workers=parameters["workers"],
            max_batch=self.max_batch,
            max_owners=parameters["concurrency"],
            is_out_of_memory=is_out_of_memory,
        )
        self.pool = start_threads(parameters["concurrency"], "draw")
        self.room = BoundedSemaphore(parameters["concurrency"] + parameters["queue_size"])

    def network(self):
        """The network, loaded again after it was given up."""
        with self.loading:
            if self.loaded is None:
                # The graph was optimised when the repository was built.
                self.loaded = load(HERE, "model", threads=self.threads, optimise=False)
            return self.loaded

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
        except Exception as error:
            end_with(
                sender,
                error,
                doing="drawing",
                remedy="ask for fewer images at once",
                is_out_of_memory=is_out_of_memory,
                unavailable=(Closed,),
            )
        finally:
            self.room.release()

    def draw(self, request, drawing, sender):
        """Send a response for each step. Raises Cancelled, and Closed when the model is unloaded."""
        done = 0

        def check():
            stop_if_cancelled(request, f"after {done} steps")

        check()
        words, pooled = self.embed(drawing.prompt, drawing.negative_prompt)
        # The check is repeated before each batch: a cancelled request costs at most the step in progress.
        with self.batcher.enter(check) as owner:

            def predict(*batch):
                return np.stack(owner.run(SIZE, zip(*batch, strict=True)))

            for done, preview, images in denoise(drawing, words, pooled, predict):
                step = np.array([done, drawing.steps], np.int32)
                send(sender, {"step": step, "preview": preview, "images": images}, last=done == drawing.steps)

    def predict(self, bucket, rows):
        """The network on rows of several requests: see `sampler.denoise`."""
        z, t, words, pooled = (np.stack(part) for part in zip(*rows, strict=True))
        feed = {"z": z, "t": t, "words": words, "pooled": pooled}
        # Where memory has run out, what a run got hold of is given back after it and not kept for the next.
        scarce = self.batcher.statistics().largest_batch < self.max_batch
        try:
            return self.network().run(feed, ["x"], shrink=scarce)["x"]
        except Exception as error:
            if is_out_of_memory(error) and len(rows) == 1:
                # Nothing smaller is left to try. The next batch loads it afresh, without what this one still holds.
                self.loaded = None
            raise

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
        """Let go of what waits; Triton calls this on unloading, when what is drawn is over."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.batcher.close(timeout=1)
