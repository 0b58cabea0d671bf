"""Training on CPU (bf16, one thread per process, gradients averaged over gloo) or on one CUDA device (bf16).

The schedule follows the wall clock (`--minutes`) or a step count (`--steps`): a flat learning rate, then a linear
decay over the last `--decay` of it. A checkpoint is written atomically every few minutes and at SIGTERM; the same command
resumes from it. Batches and noise depend on (seed, step, rank) only, so a resumed run repeats an unbroken one.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from models.house.data import default_home
from models.house.dataset import Batch, Dataset
from models.house.network import HouseModel, from_pilot, read_checkpoint

WARMUP_STEPS = 50
BETAS, WEIGHT_DECAY, CLIP = (0.9, 0.95), 0.01, 1.0
EMA_DECAY = 0.998
LOSS_WEIGHT_LIMIT = 20.0
TIME_MEAN, TIME_DEVIATION = -0.8, 0.8


def learning_rate(peak: float, step: int, progress: float, decay_share: float) -> float:
    """Warm-up over the first steps, flat, then linear to 2 % of the peak over the last `decay_share` of progress."""
    decay = min(1.0, (1 - progress) / decay_share)
    return peak * min(1.0, (step + 1) / WARMUP_STEPS) * max(0.02, decay)


CPU = torch.device("cpu")


class FlatParameters:
    """The model's parameters as one fp32 vector [P] (what the optimiser changes) beside their low-precision copies."""

    def __init__(self, model: HouseModel, device: torch.device, dtype: torch.dtype) -> None:
        self.names = [name for name, _ in model.named_parameters()]
        self.shapes = [parameter.shape for parameter in model.parameters()]
        self.sizes = [parameter.numel() for parameter in model.parameters()]
        state = [parameter.detach().to(device, torch.float32).reshape(-1) for parameter in model.parameters()]
        self.master = torch.nn.Parameter(torch.cat(state))
        for parameter in model.parameters():  # parameters only: the time frequencies must stay fp32
            parameter.data = parameter.data.to(dtype)
        self.live = list(model.to(device).parameters())

    def views(self, flat: Tensor) -> list[Tensor]:
        """A flat vector [P] as one view per parameter."""
        return [part.view(shape) for part, shape in zip(flat.split(self.sizes), self.shapes, strict=True)]

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """A state dict of fp32 CPU copies of a flat vector."""
        return dict(zip(self.names, (view.detach().cpu().clone() for view in self.views(flat)), strict=True))

    def flatten(self, state: dict[str, Tensor]) -> Tensor:
        """The inverse of `named`."""
        return torch.cat([state[name].float().reshape(-1) for name in self.names]).to(self.master.device)

    def gradient(self, extra: list[float]) -> Tensor:
        """The gradient [P + len(extra)] in fp32 with a few numbers behind it that are averaged along."""
        parts = [parameter.grad.float().reshape(-1) for parameter in self.live if parameter.grad is not None]
        return torch.cat([*parts, torch.tensor(extra, device=self.master.device)])

    @torch.no_grad()
    def publish(self) -> None:
        """Copy the fp32 master into the model's own parameters."""
        torch._foreach_copy_(self.live, self.views(self.master))


def loss_of(
    model: HouseModel, batch: Batch, generator: torch.Generator, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Weighted loss and plain mean squared error of the predicted clean image, at one random time per image."""
    image = batch.image
    t = torch.sigmoid(torch.randn(len(image), generator=generator) * TIME_DEVIATION + TIME_MEAN).to(
        image.device
    )
    noise = torch.randn(image.shape, generator=generator).to(image.device)
    share = t[:, None, None, None]
    z = share * image + (1 - share) * noise
    predicted = model(z.to(dtype), t, batch.words.to(dtype), batch.pooled.to(dtype)).float()
    error = (predicted - image).square().mean((1, 2, 3))
    return (error * (1 - t).square().reciprocal().clamp(max=LOSS_WEIGHT_LIMIT)).mean(), error.mean()


@dataclass
class Plan:
    """How long to train (exactly one of seconds and steps is set), and over which last share the rate falls."""

    seconds: float | None = None
    steps: int | None = None
    decay_share: float = 0.3

    def progress(self, step: int, elapsed: float) -> float:
        """Share of the training done, in [0, 1]."""
        done = step / self.steps if self.steps is not None else elapsed / (self.seconds or 1.0)
        return min(1.0, done)


class Trainer:
    """One process's share of the training. `average` turns a vector into its mean over the processes, in place."""

    def __init__(
        self,
        model: HouseModel,
        draw_batch: Callable[[np.random.Generator, int], Batch],
        plan: Plan,
        *,
        peak: float = 1e-3,
        batch: int = 32,
        seed: int = 0,
        rank: int = 0,
        device: torch.device = CPU,
        dtype: torch.dtype = torch.bfloat16,
        average: Callable[[Tensor], None] = lambda _: None,
    ) -> None:
        self.model, self.draw_batch, self.plan, self.average = model, draw_batch, plan, average
        self.peak, self.batch, self.seed, self.rank = peak, batch, seed, rank
        self.device, self.dtype = device, dtype
        self.flat = FlatParameters(model, device, dtype)
        self.ema = self.flat.master.detach().clone()
        self.optimizer = torch.optim.AdamW(
            [self.flat.master], lr=peak, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
        )
        self.step, self.elapsed, self.progress = 0, 0.0, 0.0
        self.clock = time.monotonic()
        self.asked_to_stop = self.stopping = False

    def train_step(self) -> tuple[float, float]:
        """One optimiser step; returns (mean squared error, gradient norm), both over all processes."""
        rng = np.random.default_rng([self.seed, self.step, self.rank])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        drawn = self.draw_batch(rng, self.batch)
        batch = Batch(*(part.to(self.device) for part in (drawn.image, drawn.words, drawn.pooled)))
        loss, error = loss_of(self.model, batch, generator, self.dtype)
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        progress = self.plan.progress(self.step, self.elapsed)
        vector = self.flat.gradient([error.item(), progress, float(self.asked_to_stop)])
        self.average(vector)
        # Averaged with the gradient, so that every process decays alike and stops after the same step.
        mse, self.progress, stopping = vector[-3:].tolist()
        self.stopping = stopping > 0
        norm = vector[:-3].norm()
        self.flat.master.grad = vector[:-3] * (CLIP / norm.clamp(min=CLIP))
        self.optimizer.param_groups[0]["lr"] = learning_rate(
            self.peak, self.step, self.progress, self.plan.decay_share
        )
        self.optimizer.step()
        self.flat.publish()
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        self.ema.lerp_(self.flat.master.detach(), 1 - decay)
        self.step += 1
        now = time.monotonic()
        self.elapsed, self.clock = self.elapsed + now - self.clock, now
        return mse, norm.item()

    def done(self) -> bool:
        """Whether the plan is fulfilled or some process was asked to stop."""
        over = self.step >= self.plan.steps if self.plan.steps is not None else self.progress >= 1
        return over or self.stopping

    def state(self) -> dict[str, Any]:
        """Everything a later process needs to go on, loadable with `weights_only=True`."""
        return {
            "step": self.step,
            "elapsed": self.elapsed,
            "config": self.model.config,
            "ema": self.flat.named(self.ema),
            "weights": self.flat.named(self.flat.master),
            "optimizer": self.optimizer.state_dict(),
        }

    def save(self, path: Path) -> None:
        """Write the checkpoint beside its place, then move it there."""
        unfinished = path.with_suffix(".unfinished")
        torch.save(self.state(), unfinished)
        unfinished.replace(path)

    @torch.no_grad()
    def load(self, path: Path) -> None:
        """Go on from a checkpoint of ours, or start from bare weights (the pilot's, an exported graph)."""
        found = read_checkpoint(path)
        if "optimizer" not in found:
            self.flat.master.copy_(self.flat.flatten(from_pilot(found["ema"], self.model)))
            self.ema.copy_(self.flat.master)
        else:
            self.step, self.elapsed = found["step"], found["elapsed"]
            self.flat.master.copy_(self.flat.flatten(found["weights"]))
            self.ema.copy_(self.flat.flatten(found["ema"]))
            self.optimizer.load_state_dict(found["optimizer"])
        self.flat.publish()


def run(trainer: Trainer, out: Path, save_minutes: float, log_every: int) -> None:
    """Train to the end of the plan; the first process saves, logs and shows a bar."""
    first = trainer.rank == 0
    trainer.clock = time.monotonic()
    saved, errors = time.monotonic(), []
    log = (out.parent / "train_log.txt").open("a", buffering=1) if first else None
    columns = (
        TextColumn("step {task.fields[step]} mse {task.fields[mse]:.4f}"),
        BarColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not (first and sys.stdout.isatty())) as bar:
        task = bar.add_task("", total=1.0, step=trainer.step, mse=0.0)
        while not trainer.done():
            mse, norm = trainer.train_step()
            errors.append(mse)
            bar.update(task, completed=trainer.progress, step=trainer.step, mse=float(np.mean(errors[-50:])))
            if log is None:
                continue
            if trainer.step % log_every == 0:
                rate = trainer.optimizer.param_groups[0]["lr"]
                log.write(
                    f"{trainer.step} {trainer.elapsed / 60:.1f}min {trainer.progress:.3f} mse {np.mean(errors):.4f} "
                    f"gn {norm:.2f} lr {rate:.1e}\n"
                )
                errors.clear()
            if time.monotonic() - saved > save_minutes * 60:
                trainer.save(out)
                saved = time.monotonic()
    if log is not None:
        trainer.save(out)
        log.write(f"{'stopped' if trainer.progress < 1 else 'done'} {trainer.step}\n")
        log.close()


def start_processes(count: int) -> list[subprocess.Popen[bytes]]:
    """Make this process rank 0 of `count` and start the others with the same command line."""
    if count == 1 or "RANK" in os.environ:
        return []
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "RANK": "0",
    }
    command = [sys.executable, "-m", "models.house.train", *sys.argv[1:]]
    return [
        subprocess.Popen(command, env=os.environ | {"RANK": str(rank)})  # noqa: S603 - this very command
        for rank in range(1, count)
    ]


def main() -> None:
    """`python -m models.house.train --minutes 120 --processes 2`: train, or go on from --out when it exists."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--home", type=Path, default=default_home())
    parser.add_argument("--out", type=Path, help="checkpoint (default: HOME/checkpoint.pt)")
    parser.add_argument(
        "--start", type=Path, help="checkpoint or exported graph whose weights a fresh run starts from"
    )
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="total wall-clock minutes, over all resumptions")
    length.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int, default=64, help="over all processes")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument(
        "--decay", type=float, default=0.3, help="last share of the run over which the rate falls"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-minutes", type=float, default=5.0)
    parser.add_argument("--log-every", type=int, default=50)
    for name, default in (("width", 320), ("depth", 8), ("heads", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    cuda = torch.cuda.is_available()
    others = start_processes(1 if cuda else args.processes)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if not cuda:
        torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo")

    def average(vector: Tensor) -> None:
        if world > 1:
            dist.all_reduce(vector)
            vector /= world

    trainer = Trainer(
        HouseModel(width=args.width, depth=args.depth, heads=args.heads),
        Dataset(args.home / "prepared").batch,
        Plan(args.minutes * 60 if args.minutes is not None else None, args.steps, args.decay),
        peak=args.learning_rate,
        batch=args.batch // world,
        seed=args.seed,
        rank=rank,
        device=torch.device("cuda" if cuda else "cpu"),
        average=average,
    )
    out = args.out or args.home / "checkpoint.pt"
    if out.exists() or args.start is not None:
        trainer.load(out if out.exists() else args.start)

    def stop(*_: object) -> None:
        trainer.asked_to_stop = True

    signal.signal(signal.SIGTERM, stop)
    run(trainer, out, args.save_minutes, args.log_every)
    for other in others:
        other.wait()
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
