"""Diffusion schedulers in numpy, numerically those of diffusers, read from its `scheduler_config.json`.

`scheduler(config, steps)` makes one for one request. Its life:

    x = noise * s.init_noise_sigma
    for i, t in enumerate(s.timesteps):
        x = s.step(network(s.scale_input(x, i), t), i, x)

Notation: a noised sample is x = alpha * x0 + sigma * noise; `sigmas` are sigma / alpha, one per step and one for
where the last step arrives. Tables are computed in float32 where diffusers' are, for a schedule near its ends
is a difference of almost equal numbers. An option that is not supported is refused by its name.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

FP32 = NDArray[np.float32]
f32 = np.float32


class Scheduler(Protocol):
    """One denoising, from noise to sample. `step(output, i, x)` is called once for each i, in order."""

    @property
    def timesteps(self) -> NDArray[Any]:
        """[steps], what the network is told: float32 or int64, as diffusers gives it."""
        ...

    @property
    def init_noise_sigma(self) -> float:
        """What standard normal noise is multiplied by to begin with."""
        ...

    def scale_input(self, x: FP32, i: int) -> FP32:
        """The network's input for the sample x before step i."""
        ...

    def step(self, output: FP32, i: int, x: FP32) -> FP32:
        """The sample after step i, from the network's output and the sample before it."""
        ...

    def clean(self, output: FP32, i: int, x: FP32) -> FP32:
        """The clean sample that the network's output at step i stands for: what a preview shows."""
        ...

    def add_noise(self, x0: FP32, noise: FP32, i: int) -> FP32:
        """A clean sample noised for step i: where image-to-image begins, its first step being i."""
        ...


class Option(NamedTuple):
    """An option's value where the file holds none, and the supported ones; without `values`, any number."""

    default: Any
    values: tuple[Any, ...] = ()


BETAS = {
    "num_train_timesteps": Option(1000),
    "beta_start": Option(0.0001),
    "beta_end": Option(0.02),
    "beta_schedule": Option("linear", ("linear", "scaled_linear", "squaredcos_cap_v2")),
    "trained_betas": Option(None, (None,)),
    "rescale_betas_zero_snr": Option(False, (False, True)),
    "steps_offset": Option(0),
}
PREDICTIONS = ("epsilon", "sample", "v_prediction")
SPACINGS = ("linspace", "leading", "trailing")
OTHER_SIGMAS = {"use_exponential_sigmas": Option(False, (False,)), "use_beta_sigmas": Option(False, (False,))}
NO_THRESHOLD = {
    "thresholding": Option(False, (False,)),
    "dynamic_thresholding_ratio": Option(0.995),  # these two count with thresholding alone
    "sample_max_value": Option(1.0),
}
SHARED = BETAS | OTHER_SIGMAS | {"use_karras_sigmas": Option(False, (False, True))}
EULER = SHARED | {
    "prediction_type": Option("epsilon", PREDICTIONS),
    "interpolation_type": Option("linear", ("linear",)),
    "sigma_min": Option(None),
    "sigma_max": Option(None),
    "timestep_spacing": Option("linspace", SPACINGS),
    "timestep_type": Option("discrete", ("discrete", "continuous")),
    "final_sigmas_type": Option("zero", ("zero", "sigma_min")),
}
DPM_SOLVER = (
    SHARED
    | NO_THRESHOLD
    | {
        "solver_order": Option(2, (2,)),
        "prediction_type": Option("epsilon", PREDICTIONS),
        "algorithm_type": Option("dpmsolver++", ("dpmsolver++",)),
        "solver_type": Option("midpoint", ("midpoint", "heun")),
        "lower_order_final": Option(True, (True, False)),
        "euler_at_final": Option(False, (False, True)),
        "use_lu_lambdas": Option(False, (False,)),
        "use_flow_sigmas": Option(False, (False,)),
        "flow_shift": Option(1.0),  # counts with use_flow_sigmas alone
        "final_sigmas_type": Option("zero", ("zero", "sigma_min")),
        "lambda_min_clipped": Option(-math.inf, (-math.inf,)),
        "variance_type": Option(None, (None,)),
        "timestep_spacing": Option("linspace", SPACINGS),
        "use_dynamic_shifting": Option(False, (False,)),
        "time_shift_type": Option("exponential", ("exponential",)),
    }
)
DDIM = (
    BETAS
    | NO_THRESHOLD
    | {
        "prediction_type": Option("epsilon", PREDICTIONS),
        "clip_sample": Option(True, (True, False)),
        "clip_sample_range": Option(1.0),
        "set_alpha_to_one": Option(True, (True, False)),
        "timestep_spacing": Option("leading", SPACINGS),
    }
)
FLOW_EULER = OTHER_SIGMAS | {
    "num_train_timesteps": Option(1000),
    "shift": Option(1.0),
    "use_dynamic_shifting": Option(False, (False, True)),
    "base_shift": Option(0.5),
    "max_shift": Option(1.15),
    "base_image_seq_len": Option(256),
    "max_image_seq_len": Option(4096),
    "invert_sigmas": Option(False, (False,)),
    "shift_terminal": Option(None),
    "use_karras_sigmas": Option(False, (False,)),
    "time_shift_type": Option("exponential", ("exponential", "linear")),
    "stochastic_sampling": Option(False, (False,)),
}
UNIPC = (
    BETAS
    | OTHER_SIGMAS
    | NO_THRESHOLD
    | {
        "solver_order": Option(2, (1, 2, 3)),
        "prediction_type": Option("epsilon", ("flow_prediction",)),
        "predict_x0": Option(True, (True,)),
        "solver_type": Option("bh2", ("bh2",)),
        "lower_order_final": Option(True, (True,)),
        "disable_corrector": Option([], ([],)),
        "solver_p": Option(None, (None,)),
        "use_karras_sigmas": Option(False, (False,)),
        "use_flow_sigmas": Option(False, (True,)),
        "flow_shift": Option(1.0),
        "timestep_spacing": Option("linspace", SPACINGS),  # flow sigmas leave it aside
        "final_sigmas_type": Option("zero", ("zero",)),
        "use_dynamic_shifting": Option(False, (False,)),
        "time_shift_type": Option("exponential", ("exponential",)),
        "sigma_min": Option(None, (None,)),
        "sigma_max": Option(None, (None,)),
        "shift_terminal": Option(None),
    }
)
# Options that published configurations carry over from other schedulers, and that diffusers leaves aside.
FOREIGN = frozenset(EULER | DPM_SOLVER | DDIM | FLOW_EULER | UNIPC) | {"skip_prk_steps", "clip_sample"}


def read_options(config: Mapping[str, Any], options: Mapping[str, Option]) -> dict[str, Any]:
    """The values of a scheduler's options. Raises ValueError naming the option and what is supported."""
    unknown = [name for name in config if not (name in options or name in FOREIGN or name[0] == "_")]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no option of a scheduler that is supported")
    values = {name: config.get(name, option.default) for name, option in options.items()}
    for name, option in options.items():
        value = values[name]
        supported = option.values and value in option.values
        number = not option.values and isinstance(value, int | float) and not isinstance(value, bool)
        if not (supported or number or (not option.values and value is option.default)):
            allowed = " or ".join(map(str, option.values)) or "a number"
            raise ValueError(f"{name}: must be {allowed}; {value} given")
    return values


def alphas_cumulated(options: Mapping[str, Any]) -> FP32:
    """FP32 [num_train_timesteps]: the product of (1 - beta) up to each timestep (DDPM, arXiv 2006.11239)."""
    count = options["num_train_timesteps"]
    if options["beta_schedule"] == "squaredcos_cap_v2":  # improved DDPM, arXiv 2102.09672, equation 17
        bar = [math.cos((i / count + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(count + 1)]
        betas = np.array([min(1 - bar[i + 1] / bar[i], 0.999) for i in range(count)], f32)
    elif options["beta_schedule"] == "scaled_linear":
        betas = _linspace(options["beta_start"] ** 0.5, options["beta_end"] ** 0.5, count) ** 2
    else:
        betas = _linspace(options["beta_start"], options["beta_end"], count)
    if options["rescale_betas_zero_snr"]:
        betas = _zero_terminal_snr(betas)
    return _cumulated(f32(1) - betas)


def _linspace(start: float, end: float, count: int) -> FP32:
    """`torch.linspace` in float32: from both ends to the middle, the step itself rounded to float32."""
    i = np.arange(count)
    first, last = f32(start), f32(end)
    step = np.float64((last - first) / f32(count - 1))
    return np.where(i < count // 2, first + step * i, last - step * (count - 1 - i)).astype(f32)


def _cumulated(alphas: FP32) -> FP32:
    """`torch.cumprod` in float32, which keeps the product itself in double precision."""
    return np.asarray(np.cumprod(alphas.astype(np.float64)), f32)


def _zero_terminal_snr(betas: FP32) -> FP32:
    """Nothing but noise at the last timestep (arXiv 2305.08891, algorithm 1)."""
    root = np.sqrt(_cumulated(f32(1) - betas))
    first, last = root[0].copy(), root[-1].copy()
    bar = ((root - last) * (first / (first - last))) ** 2
    return np.asarray(f32(1) - np.concatenate([bar[:1], bar[1:] / bar[:-1]]))


def _noise_levels(cumulated: FP32) -> FP32:
    """Sigma over alpha of each training timestep."""
    return np.asarray(np.sqrt((f32(1) - cumulated) / cumulated))


def _karras(sigma_max: float, sigma_min: float, steps: int) -> NDArray[np.float64]:
    """Steps even in sigma ** (1 / 7) (arXiv 2206.00364, equation 5)."""
    high, low = sigma_max ** (1 / 7), sigma_min ** (1 / 7)
    levels: NDArray[np.float64] = (high + np.linspace(0, 1, steps) * (low - high)) ** 7
    return levels


def _timesteps_of(sigmas: NDArray[np.float64], levels: FP32) -> NDArray[np.float64]:
    """Training timesteps of noise levels, interpolated in the logarithm."""
    # In float32, as diffusers does: whole timesteps may be cut from the result.
    logs, grid = np.log(np.maximum(sigmas, 1e-10)).astype(f32), np.log(levels)
    below = np.clip(np.searchsorted(grid, logs, side="right") - 1, 0, len(grid) - 2)
    part = np.clip((grid[below] - logs) / (grid[below] - grid[below + 1]), 0, 1)
    return np.asarray((f32(1) - part) * below + part * (below + 1))


def _spaced(spacing: str, last: int, steps: int, offset: int, *, ends: int) -> NDArray[np.float64]:
    """Training timesteps, downwards (arXiv 2305.08891, table 2). With `ends` = 1, timestep 0 is one beyond them."""
    if spacing == "linspace":
        return np.linspace(0, last - 1, steps + ends)[::-1][:steps]
    if spacing == "leading":
        return (np.arange(steps + ends) * (last // (steps + ends)))[::-1][:steps] + float(offset)
    return np.arange(last, 0, -last / steps).round()[:steps] - 1


def _predicted_x0(kind: str, output: FP32, x: FP32, alpha: Any, sigma: Any) -> FP32:
    """The clean sample that a network's output stands for (v: arXiv 2202.00512, appendix D)."""
    if kind == "sample":
        return output
    if kind == "epsilon":
        return np.asarray((x - sigma * output) / alpha)
    if kind == "v_prediction":
        return np.asarray(alpha * x - sigma * output)
    return np.asarray(x - sigma * output)  # flow_prediction


@dataclass(frozen=True, eq=False)
class Euler:
    """Euler steps of the probability flow ODE in sigma (arXiv 2206.00364, algorithm 2 without noise)."""

    timesteps: FP32
    sigmas: FP32
    init_noise_sigma: float
    prediction: str

    def scale_input(self, x: FP32, i: int) -> FP32:
        """Divided by sqrt(sigma ** 2 + 1), which gives it the variance the network was trained on."""
        return np.asarray(x / np.sqrt(self.sigmas[i] ** 2 + f32(1)))

    def step(self, output: FP32, i: int, x: FP32) -> FP32:
        """One Euler step, from sigmas[i] to sigmas[i + 1]."""
        sigma = self.sigmas[i]
        return np.asarray(x + (x - self.clean(output, i, x)) / sigma * (self.sigmas[i + 1] - sigma))

    def clean(self, output: FP32, i: int, x: FP32) -> FP32:
        """What the output stands for where signals are not scaled down."""
        sigma = self.sigmas[i]
        if self.prediction == "v_prediction":
            return np.asarray(output * (-sigma / np.sqrt(sigma**2 + f32(1))) + x / (sigma**2 + f32(1)))
        return _predicted_x0(self.prediction, output, x, f32(1), sigma)

    def add_noise(self, x0: FP32, noise: FP32, i: int) -> FP32:
        """The sample is not scaled down here; `scale_input` does that."""
        return np.asarray(x0 + noise * self.sigmas[i])


def _euler(options: Mapping[str, Any], steps: int) -> Euler:
    cumulated = alphas_cumulated(options)
    if options["rescale_betas_zero_snr"]:
        cumulated[-1] = 2**-24  # keeps the first sigma finite
    levels = _noise_levels(cumulated)
    timesteps = _spaced(
        options["timestep_spacing"], len(levels), steps, options["steps_offset"], ends=0
    ).astype(f32)
    sigmas = np.interp(timesteps, np.arange(len(levels)), levels)
    if options["use_karras_sigmas"]:
        low, high = options["sigma_min"], options["sigma_max"]
        sigmas = _karras(
            float(sigmas[0]) if high is None else high, float(sigmas[-1]) if low is None else low, steps
        )
        timesteps = _timesteps_of(sigmas, levels).astype(f32)
    final = levels[0] if options["final_sigmas_type"] == "sigma_min" else 0
    levels = np.append(sigmas, final).astype(f32)
    if options["timestep_type"] == "continuous" and options["prediction_type"] == "v_prediction":
        timesteps = f32(0.25) * np.log(levels[:-1])
    highest = levels.max()
    leading = options["timestep_spacing"] == "leading"
    start = float(np.sqrt(highest**2 + f32(1)) if leading else highest)
    return Euler(timesteps, levels, start, options["prediction_type"])


@dataclass(frozen=True, eq=False)
class Ddim:
    """Deterministic DDIM (eta = 0; arXiv 2010.02502, equation 12)."""

    timesteps: NDArray[np.int64]
    departures: FP32  # [steps]: alpha ** 2 before each step
    arrivals: FP32  # [steps]: after it, which need not be the next one's
    prediction: str
    clip: float
    init_noise_sigma: float = 1.0

    def scale_input(self, x: FP32, i: int) -> FP32:
        """The sample itself."""
        return x

    def step(self, output: FP32, i: int, x: FP32) -> FP32:
        """From timestep i towards the clean sample that the output stands for."""
        alpha, sigma = np.sqrt(self.departures[i]), np.sqrt(f32(1) - self.departures[i])
        x0 = self.clean(output, i, x)
        if self.prediction == "epsilon":
            noise = output
        elif self.prediction == "v_prediction":
            noise = alpha * output + sigma * x
        else:
            noise = (x - alpha * x0) / sigma
        arrival = self.arrivals[i]
        clipped = np.clip(x0, -f32(self.clip), f32(self.clip))
        return np.asarray(np.sqrt(arrival) * clipped + np.sqrt(f32(1) - arrival) * noise)

    def clean(self, output: FP32, i: int, x: FP32) -> FP32:
        """What the output stands for, not clipped."""
        alpha, sigma = np.sqrt(self.departures[i]), np.sqrt(f32(1) - self.departures[i])
        return _predicted_x0(self.prediction, output, x, alpha, sigma)

    def add_noise(self, x0: FP32, noise: FP32, i: int) -> FP32:
        """As it is, scaled to unit variance."""
        departure = self.departures[i]
        return np.asarray(np.sqrt(departure) * x0 + np.sqrt(f32(1) - departure) * noise)


def _ddim(options: Mapping[str, Any], steps: int) -> Ddim:
    cumulated = alphas_cumulated(options)
    train = len(cumulated)
    spaced = _spaced(options["timestep_spacing"], train, steps, options["steps_offset"], ends=0)
    timesteps = spaced.round().astype(np.int64)
    if timesteps[0] >= train:
        raise ValueError(f"steps_offset: with {steps} steps it leads beyond the {train} training timesteps")
    earlier = timesteps - train // steps
    final = f32(1) if options["set_alpha_to_one"] else cumulated[0]
    arrivals = np.where(earlier >= 0, cumulated[earlier], final).astype(f32)
    clip = options["clip_sample_range"] if options["clip_sample"] else math.inf
    return Ddim(timesteps, cumulated[timesteps], arrivals, options["prediction_type"], clip)


@dataclass(frozen=True, eq=False)
class DpmSolver:
    """DPM-Solver++(2M), a two-step solver for the clean sample (arXiv 2211.01095, algorithm 2)."""

    timesteps: NDArray[np.int64]
    sigmas: FP32
    prediction: str
    heun: bool
    first_order_at_end: bool
    init_noise_sigma: float = 1.0
    _earlier: deque[FP32] = field(default_factory=lambda: deque(maxlen=1))

    def scale_input(self, x: FP32, i: int) -> FP32:
        """The sample itself."""
        return x

    def step(self, output: FP32, i: int, x: FP32) -> FP32:
        """Second order from the second step on, and first order where the schedule ends at sigma 0."""
        alpha, sigma = _alpha_sigma(self.sigmas)
        lambdas = _lambdas(alpha, sigma)
        x0 = self.clean(output, i, x)
        h = lambdas[i + 1] - lambdas[i]
        decay = np.exp(-h) - f32(1)
        after = (sigma[i + 1] / sigma[i]) * x - (alpha[i + 1] * decay) * x0
        if self._earlier and not (self.first_order_at_end and i == len(self.timesteps) - 1):
            slope = h / (lambdas[i] - lambdas[i - 1]) * (x0 - self._earlier[0])
            weight = -0.5 * decay
            if self.heun:
                weight = decay / h + 1 if h else 0  # a last step of no length
            after = after + (alpha[i + 1] * f32(weight)) * slope
        self._earlier.append(x0)
        return np.asarray(after)

    def clean(self, output: FP32, i: int, x: FP32) -> FP32:
        """What the output stands for, whose slope the solver follows."""
        alpha, sigma = _alpha_sigma(self.sigmas[i])
        return _predicted_x0(self.prediction, output, x, alpha, sigma)

    def add_noise(self, x0: FP32, noise: FP32, i: int) -> FP32:
        """As it is, scaled to unit variance."""
        alpha, sigma = _alpha_sigma(self.sigmas[i])
        return np.asarray(alpha * x0 + sigma * noise)


def _dpm_solver(options: Mapping[str, Any], steps: int) -> DpmSolver:
    cumulated = alphas_cumulated(options)
    if options["rescale_betas_zero_snr"]:
        cumulated[-1] = 2**-24
    levels = _noise_levels(cumulated)
    spaced = _spaced(options["timestep_spacing"], len(levels), steps, options["steps_offset"], ends=1).round()
    sigmas = np.interp(spaced, np.arange(len(levels)), levels)
    if options["use_karras_sigmas"]:
        sigmas = _karras(float(levels[-1]), float(levels[0]), steps)
        spaced = _timesteps_of(sigmas, levels)
        if options["beta_schedule"] != "squaredcos_cap_v2":
            spaced = spaced.round()
    to_zero = options["final_sigmas_type"] == "zero"
    levels = np.append(sigmas, 0 if to_zero else levels[0]).astype(f32)
    at_end = options["euler_at_final"] or (options["lower_order_final"] and steps < 15) or to_zero
    heun = options["solver_type"] == "heun"
    return DpmSolver(spaced.astype(np.int64), levels, options["prediction_type"], heun, at_end)


def _alpha_sigma(sigmas: FP32) -> tuple[FP32, FP32]:
    alpha = f32(1) / np.sqrt(sigmas**2 + f32(1))
    return alpha, sigmas * alpha


def _lambdas(alpha: FP32, sigma: FP32) -> FP32:
    """Half the logarithm of the signal-to-noise ratio; infinite where there is no noise."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(alpha) - np.log(sigma))


@dataclass(frozen=True, eq=False)
class FlowEuler:
    """Euler steps along a rectified flow (arXiv 2210.02747; as in Stable Diffusion 3, arXiv 2403.03206)."""

    timesteps: FP32
    sigmas: FP32
    init_noise_sigma: float = 1.0

    def scale_input(self, x: FP32, i: int) -> FP32:
        """The sample itself."""
        return x

    def step(self, output: FP32, i: int, x: FP32) -> FP32:
        """Along the velocity, from sigmas[i] to sigmas[i + 1]."""
        return np.asarray(x + (self.sigmas[i + 1] - self.sigmas[i]) * output)

    def clean(self, output: FP32, i: int, x: FP32) -> FP32:
        """Where the velocity leads."""
        return np.asarray(x - self.sigmas[i] * output)

    def add_noise(self, x0: FP32, noise: FP32, i: int) -> FP32:
        """On the straight line between the two."""
        return np.asarray(self.sigmas[i] * noise + (f32(1) - self.sigmas[i]) * x0)


def dynamic_shift(config: Mapping[str, Any], tokens: int) -> float:
    """The `mu` of a picture of that many tokens (latent patches), as the FLUX and SD3 pipelines choose it.

    Linear from base_shift at base_image_seq_len to max_shift at max_image_seq_len. Raises ValueError as
    `scheduler` does.
    """
    options = read_options(config, FLOW_EULER)
    slope = (options["max_shift"] - options["base_shift"]) / (
        options["max_image_seq_len"] - options["base_image_seq_len"]
    )
    return float(options["base_shift"] + slope * (tokens - options["base_image_seq_len"]))


def _flow_euler(
    options: Mapping[str, Any], steps: int, *, mu: float | None = None, sigmas: Sequence[float] | None = None
) -> FlowEuler:
    train, shift = options["num_train_timesteps"], options["shift"]
    levels: NDArray[Any]
    if sigmas is None:
        ends = np.array([train, 1], f32) / f32(train)
        if not options["use_dynamic_shifting"]:
            ends = shift * ends / (1 + (shift - 1) * ends)
        # Through timesteps and back, which rounds as diffusers does.
        levels = np.linspace(float(ends[0]) * train, float(ends[1]) * train, steps) / train
    else:
        levels = np.array(sigmas, f32)
    if options["use_dynamic_shifting"]:
        if mu is None:
            raise ValueError("mu: is required, since use_dynamic_shifting is true; see dynamic_shift")
        factor = math.exp(mu) if options["time_shift_type"] == "exponential" else mu
        levels = factor / (factor + (1 / levels - 1))
    else:
        levels = shift * levels / (1 + (shift - 1) * levels)
    levels = _stretched(levels, options["shift_terminal"]).astype(f32)
    return FlowEuler(levels * f32(train), np.append(levels, f32(0)))


def _stretched(sigmas: NDArray[Any], terminal: float | None) -> NDArray[Any]:
    """Stretched to end at `terminal`, as LTX-Video's schedule is (arXiv 2501.00103)."""
    if not terminal:
        return sigmas
    if sigmas[-1] == 1:
        raise ValueError("steps: must be at least 2, since shift_terminal stretches the schedule")
    return np.asarray(1 - (1 - sigmas) / ((1 - sigmas[-1]) / (1 - terminal)))


@dataclass(frozen=True, eq=False)
class UniPc:
    """UniPC on a flow, with B(h) = e**h - 1: predict, then correct with the next output (arXiv 2302.04867)."""

    timesteps: NDArray[np.int64]
    sigmas: FP32
    order: int
    init_noise_sigma: float = 1.0
    _outputs: list[FP32] = field(default_factory=list)  # clean samples of the last `order` steps, newest last
    _last: list[tuple[FP32, int]] = field(
        default_factory=list
    )  # the last step's corrected sample, and its order

    def scale_input(self, x: FP32, i: int) -> FP32:
        """The sample itself."""
        return x

    def step(self, output: FP32, i: int, x: FP32) -> FP32:
        """Correct the sample that the last step predicted, then predict the next one."""
        x0 = self.clean(output, i, x)
        if self._last:
            before, order = self._last.pop()
            x = self._update(before, i, order, corrected_by=x0)
        self._outputs.append(x0)
        del self._outputs[: -self.order]
        order = min(self.order, len(self.timesteps) - i, len(self._outputs))
        self._last.append((x, order))
        return self._update(x, i + 1, order)

    def clean(self, output: FP32, i: int, x: FP32) -> FP32:
        """Where the velocity leads."""
        return np.asarray(x - self.sigmas[i] * output)

    def add_noise(self, x0: FP32, noise: FP32, i: int) -> FP32:
        """On the straight line between the two."""
        return np.asarray((f32(1) - self.sigmas[i]) * x0 + self.sigmas[i] * noise)

    def _update(self, x: FP32, to: int, order: int, corrected_by: FP32 | None = None) -> FP32:
        """The sample at sigmas[to] from the one at sigmas[to - 1]: UniC if given its clean sample, else UniP."""
        alpha, sigma = f32(1) - self.sigmas, self.sigmas
        lambdas = _lambdas(alpha, sigma)
        start = to - 1
        newest = self._outputs[-1]
        h = lambdas[to] - lambdas[start]
        ratios = [(lambdas[start - k] - lambdas[start]) / h for k in range(1, order)]
        slopes = [(self._outputs[-1 - k] - newest) / ratios[k - 1] for k in range(1, order)]
        if corrected_by is not None:
            ratios, slopes = [*ratios, f32(1)], [*slopes, corrected_by - newest]
        growth = np.expm1(-h)
        weights = self._weights(ratios, -h)
        change = sum((weight * slope for weight, slope in zip(weights, slopes, strict=True)), f32(0))
        after = sigma[to] / sigma[start] * x - alpha[to] * growth * newest
        return np.asarray(after - alpha[to] * growth * change)

    @staticmethod
    def _weights(ratios: Sequence[Any], h: Any) -> list[Any]:
        """What each slope counts for: solved for, but 1/2 where there is only one, as the paper proposes."""
        if len(ratios) < 2:
            return [f32(0.5)] * len(ratios)
        moments, phi, factorial = [], np.expm1(h) / h - f32(1), 1
        for k in range(1, len(ratios) + 1):
            moments.append(phi * f32(factorial) / np.expm1(h))
            factorial *= k + 1
            phi = phi / h - f32(1 / factorial)
        powers = np.array([np.power(np.array(ratios, f32), k) for k in range(len(ratios))], f32)
        return list(np.linalg.solve(powers, np.array(moments, f32)))


def _unipc(options: Mapping[str, Any], steps: int) -> UniPc:
    train, shift = options["num_train_timesteps"], options["flow_shift"]
    levels = np.linspace(1, 1 / train, steps + 1)[:-1]
    levels = _stretched(shift * levels / (1 + (shift - 1) * levels), options["shift_terminal"])
    if abs(levels[0] - 1) < 1e-6:
        levels[0] -= 1e-6  # at 1 there is no signal, and its logarithm no number
    timesteps = (levels * train).astype(np.int64)
    return UniPc(timesteps, np.append(levels, 0).astype(f32), options["solver_order"])


SCHEDULERS: dict[str, tuple[Callable[..., Scheduler], dict[str, Option]]] = {
    "EulerDiscreteScheduler": (_euler, EULER),
    "DPMSolverMultistepScheduler": (_dpm_solver, DPM_SOLVER),
    "DDIMScheduler": (_ddim, DDIM),
    "FlowMatchEulerDiscreteScheduler": (_flow_euler, FLOW_EULER),
    "UniPCMultistepScheduler": (_unipc, UNIPC),
}


def scheduler(
    config: Mapping[str, Any], steps: int, *, mu: float | None = None, sigmas: Sequence[float] | None = None
) -> Scheduler:
    """The scheduler that a diffusers `scheduler_config.json` describes, for one request of that many steps.

    `mu` (see `dynamic_shift`) and `sigmas` [steps] are for FlowMatchEulerDiscreteScheduler alone.
    Raises ValueError for a class, an option or a value that is not supported, naming it, and for steps below 1
    or above the number of training timesteps.
    """
    name = config.get("_class_name")
    if name not in SCHEDULERS:
        raise ValueError(f"_class_name: must be {' or '.join(SCHEDULERS)}; {name} given")
    make, options = SCHEDULERS[name]
    values = read_options(config, options)
    train = values["num_train_timesteps"]
    if not 1 <= steps <= train:
        raise ValueError(f"steps: must be 1 to {train}; {steps} given")
    given = {key: value for key, value in (("mu", mu), ("sigmas", sigmas)) if value is not None}
    if given and options is not FLOW_EULER:
        raise ValueError(f"{' and '.join(given)}: not taken by {name}")
    return make(values, steps, **given)
