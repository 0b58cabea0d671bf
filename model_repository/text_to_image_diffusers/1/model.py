"""A diffusers pipeline, text to image: decoupled, one response per denoising step, cancellable before each.

What it is made of is data, in `pipeline.json` beside this file; the build wrote it.
"""

import json
from functools import cache
from pathlib import Path
from threading import BoundedSemaphore

import numpy as np
import triton_python_backend_utils as pb_utils

# Beside this file, which the backend puts on the path.
from batching import Batcher, Closed, start_threads
from conditioning import condition
from denoise import begin, denoise, guidance_of, plan, preview, to_pixels
from drawing import Drawing, check, decimal
from graph import is_out_of_memory
from graphs import Graphs
from tensors import end, end_with, first, send, stop_if_cancelled, text, values
from tokenizers import Tokenizer

HERE = Path(__file__).parent
NO_IMAGES = np.zeros((0, 0, 0, 3), np.uint8)


def read_drawing(request, pipeline):
    """The request's tensors, checked. Raises ValueError naming the tensor and the rule."""
    image, size = values(request, "image"), values(request, "size")
    if size is None:
        size = pipeline["sizes"][0] if image is None else image.shape[1::-1]
    drawing = Drawing(
        prompt=text(request, "prompt"),
        negative_prompt=text(request, "negative_prompt", ""),
        seeds=tuple(int(seed) for seed in values(request, "seeds").ravel()),
        steps=int(first(request, "steps")),
        guidance_scale=float(first(request, "guidance_scale")),
        true_cfg_scale=float(first(request, "true_cfg_scale", 1.0)),
        width=int(size[0]),
        height=int(size[1]),
        preview_every=int(first(request, "preview_every", 0)),
        image=image,
        strength=decimal(first(request, "strength", Drawing.strength)),
    )
    check(drawing, pipeline)
    return drawing


class TritonPythonModel:
    """One response per step: step INT32 [2] = (k, n), preview UINT8 [B or 0, h, w, 3], images [B or 0, H, W, 3].

    Inputs, limits: `drawing`; breaking one ends in INVALID_ARGUMENT. A full queue and running out of memory end in
    UNAVAILABLE, a cancelled request in CANCELLED. Where a picture is refined n is the steps that its strength leaves.

    Requests that are drawn at the same time share the denoiser's calls, those of one size at whatever step each is.
    The same seed gives the picture that diffusers gives, but for rounding.
    """

    def initialize(self, args):
        """Load what is needed from the first request on."""
        parameters = {
            key: int(value["string_value"])
            for key, value in json.loads(args["model_config"])["parameters"].items()
        }
        self.pipeline = json.loads((HERE / "pipeline.json").read_text(encoding="utf-8"))
        self.tokenizers = {
            name: Tokenizer.from_file(str(HERE / encoder["tokenizer"]))
            for name, encoder in self.pipeline["encoders"].items()
        }
        self.graphs = Graphs(HERE, self.pipeline["components"], parameters["intra_op_threads"])
        self.graphs.load()
        self.max_batch = parameters["max_batch"]
        self.batcher = Batcher(
            self.run_rows,
            workers=parameters["workers"],
            max_batch=self.max_batch,
            max_owners=parameters["concurrency"],
            is_out_of_memory=is_out_of_memory,
        )
        self.pool = start_threads(parameters["concurrency"], "draw")
        self.room = BoundedSemaphore(parameters["concurrency"] + parameters["queue_size"])

    def execute(self, requests):
        """Take the requests; each is drawn in a thread of the pool, so that this returns at once."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                drawing = read_drawing(request, self.pipeline)
                steps = plan(self.pipeline, drawing)
            except ValueError as error:
                end(sender, str(error), pb_utils.TritonError.INVALID_ARG)
                continue
            if not self.room.acquire(blocking=False):
                end(sender, "the queue is full; try again later", pb_utils.TritonError.UNAVAILABLE)
                continue
            self.pool.submit(self.serve, request, drawing, steps, sender)

    def serve(self, request, drawing, steps, sender):
        """Draw one request to its end, whatever that is: exactly one final response."""
        try:
            self.draw(request, drawing, steps, sender)
        except Exception as error:
            if is_out_of_memory(error):
                # The next run loads them afresh, without what the failed one still holds.
                self.graphs.drop()
            end_with(
                sender,
                error,
                doing="drawing",
                remedy="ask for fewer images at once or a smaller size",
                is_out_of_memory=is_out_of_memory,
                unavailable=(Closed,),
            )
        finally:
            self.room.release()

    def draw(self, request, drawing, steps, sender):
        """Send a response for each step. Raises Cancelled, and Closed when the model is unloaded."""
        done = 0

        def check_wanted():
            stop_if_cancelled(request, f"after {done} steps")

        check_wanted()
        conditions = self.conditions(drawing)
        start = begin(self.pipeline, drawing, steps[0], self.encode_image)
        with self.batcher.enter(check_wanted) as owner:

            def predict(denoiser, feed):
                names, arrays = tuple(feed), feed.values()
                bucket = (denoiser, names, drawing.width, drawing.height)
                pixels = (
                    drawing.width * drawing.height
                )  # so that large pictures wait their turn among small ones
                return np.stack(owner.run(bucket, zip(*arrays, strict=True), cost=pixels))

            taken = denoise(self.pipeline, drawing, steps, start, conditions, predict)
            for done, (latents, clean) in enumerate(taken, start=1):
                if done == len(steps):
                    check_wanted()
                    self.send(sender, done, len(steps), NO_IMAGES, self.decode(latents), last=True)
                else:
                    shown = drawing.preview_every and done % drawing.preview_every == 0
                    picture = preview(self.pipeline, clean) if shown else NO_IMAGES
                    self.send(sender, done, len(steps), picture, NO_IMAGES)

    def send(self, sender, done, steps, picture, images, *, last=False):
        """Send one response."""
        step = np.array([done, steps], np.int32)
        send(sender, {"step": step, "preview": picture, "images": images}, last=last)

    def run_rows(self, bucket, rows):
        """A denoiser on rows of several requests."""
        denoiser, names, *_ = bucket
        feed = {name: np.stack(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
        # Where memory has run out, what a run got hold of is given back after it and not kept for the next.
        scarce = self.batcher.statistics().largest_batch < self.max_batch
        return self.graphs.run(denoiser, feed, shrink=scarce)["output"]

    def conditions(self, drawing):
        """For each stage, what the denoiser is told of the prompt and of the negative prompt, None if not asked."""

        @cache
        def encode(name, prompt):
            ids = np.array([self.tokenizers[name].encode(prompt).ids], np.int64)
            return self.graphs.run(name, {"input_ids": ids}, shrink=True)

        size, scale = (drawing.width, drawing.height), drawing.guidance_scale
        return [
            (
                condition(stage, encode, drawing.prompt, size, scale),
                condition(stage, encode, drawing.negative_prompt, size, scale, negative=True)
                if guidance_of(stage, drawing) > 1
                else None,
            )
            for stage in self.pipeline["stages"]
        ]

    def encode_image(self, image):
        """The mean and deviation of a picture's latents."""
        found = self.graphs.run("vae_encoder", {"image": image}, shrink=True)
        return found["mean"], found["deviation"]

    def decode(self, latents):
        """UINT8 [B, H, W, 3]; one picture at a time, since this takes the most memory of all."""
        images = (
            self.graphs.run("vae_decoder", {"latents": row[None]}, shrink=True)["image"] for row in latents
        )
        return np.concatenate([to_pixels(image) for image in images])

    def finalize(self):
        """Let go of what waits; Triton calls this on unloading, when what is drawn is over."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.batcher.close(timeout=1)
