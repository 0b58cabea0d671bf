"""Videos from a diffusers pipeline: decoupled, one response per denoising step, then frames as they are decoded."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, BoundedSemaphore, Lock

import numpy as np

# Beside this file, which the backend puts on the path.
import svd
import triton_python_backend_utils as pb_utils
import wan
from clip import Decoded, read_clip
from graph import is_out_of_memory, load
from tensors import end, end_with, send, stop_if_cancelled, text, values
from tokenizers import Tokenizer

HERE = Path(__file__).parent
FAMILIES = {"svd": svd, "wan": wan}
NO_FRAMES = np.zeros((0, 0, 0, 3), np.uint8)
NO_INDEX = np.zeros(0, np.int32)
TEXT = "TYPE_STRING"


class TritonPythonModel:
    """Responses hold step INT32 [2] = (k, n), frame_index INT32 [0 or 1] and frames UINT8 [m, H, W, 3].

    After each step: that step and no frames. Then, as they are decoded: the last step, the index of the first frame
    that comes, and the frames. The last response holds the last frame. Inputs, limits: `clip.read_clip` and the
    model's `pipeline.json`; breaking one ends in INVALID_ARGUMENT. A full queue and running out of memory end in
    UNAVAILABLE, a cancelled request in CANCELLED: it is asked for before each network call of the denoising loop and
    before each chunk that is decoded. The same seed gives diffusers' own video.
    """

    def initialize(self, args):
        """Load what is needed from the first request on."""
        config = json.loads(args["model_config"])
        parameters = {key: int(value["string_value"]) for key, value in config["parameters"].items()}
        self.inputs = {each["name"]: each["data_type"] for each in config["input"]}
        self.threads = parameters["intra_op_threads"]
        self.pipeline = json.loads((HERE / "pipeline.json").read_text(encoding="utf-8"))
        self.family = FAMILIES[self.pipeline["family"]]
        self.loading = Lock()
        self.loaded = None
        self.graphs()
        self.pool = self.start(parameters["concurrency"])
        self.room = BoundedSemaphore(parameters["concurrency"] + parameters["queue_size"])

    def start(self, count):
        """A pool whose threads all run: one that there is no memory for later leaves its request there, unanswered."""
        pool, started = ThreadPoolExecutor(count, "video"), Barrier(count)
        list(pool.map(lambda _: started.wait(), range(count)))
        return pool

    def graphs(self):
        """The family's networks by name, loaded again after they were given up."""
        with self.loading:
            if self.loaded is None:
                self.loaded = {
                    name: load(HERE, name, threads=self.threads, steady_shapes=False)
                    for name in self.family.GRAPHS
                }
                tokenizer = HERE / "tokenizer.json"
                if tokenizer.is_file():
                    self.loaded["tokenizer"] = Tokenizer.from_file(str(tokenizer))
            return self.loaded

    def execute(self, requests):
        """Take the requests; each is made in a thread of the pool, so that this returns at once."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                clip = read_clip(self.given(request), self.pipeline)
            except ValueError as error:
                end(sender, str(error), pb_utils.TritonError.INVALID_ARG)
                continue
            if not self.room.acquire(blocking=False):
                end(sender, "the queue is full; try again later", pb_utils.TritonError.UNAVAILABLE)
                continue
            self.pool.submit(self.serve, request, clip, sender)

    def given(self, request):
        """The request's tensors by name, texts as str. Raises ValueError."""
        found = {name: values(request, name) for name in self.inputs}
        return {
            name: text(request, name) if self.inputs[name] == TEXT else value
            for name, value in found.items()
            if value is not None
        }

    def serve(self, request, clip, sender):
        """Make one video to its end, whatever that is: exactly one final response."""
        try:
            self.animate(request, clip, sender)
        except Exception as error:
            if is_out_of_memory(error):
                # The next request loads them afresh, without what the failed run still holds.
                self.loaded = None
            remedy = "ask for fewer frames, a smaller size, or fewer frames decoded at once"
            end_with(
                sender, error, doing="making the video", remedy=remedy, is_out_of_memory=is_out_of_memory
            )
        finally:
            self.room.release()

    def animate(self, request, clip, sender):
        """Send a response for each step and for each chunk of frames. Raises Cancelled."""
        done = "before the first step"
        stop_if_cancelled(request, done)
        last_step = np.array([clip.steps, clip.steps], np.int32)
        for event in self.family.animate(clip, self.pipeline, self.graphs()):
            last = False
            if isinstance(event, Decoded):
                done = f"after {event.index + len(event.frames)} frames"
                last = event.index + len(event.frames) == clip.frames
                index = np.array([event.index], np.int32)
                send(
                    sender,
                    {"step": last_step, "frame_index": index, "frames": event.frames},
                    last=last,
                )
            elif event is not None:
                done = f"after {event.number} steps"
                step = np.array([event.number, clip.steps], np.int32)
                send(sender, {"step": step, "frame_index": NO_INDEX, "frames": NO_FRAMES}, last=False)
            if not last:
                stop_if_cancelled(request, done)

    def finalize(self):
        """Let go of what waits; Triton calls this on unloading."""
        self.pool.shutdown(wait=False, cancel_futures=True)
