"""Every scheduler against diffusers' own, over whole denoisings: a network that answers from its input alone."""

import inspect
import itertools
import json
import math

import diffusers
import numpy as np
import pytest
import torch

from services.models.serving.schedulers import FOREIGN, SCHEDULERS, dynamic_shift, scheduler

STEPS = (1, 2, 4, 20, 50)
TOLERANCE = 1e-5  # of the largest value, in float32
SCALED = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SVD = SCALED | {  # as published with stable-video-diffusion-img2vid
    "clip_sample": False,
    "interpolation_type": "linear",
    "prediction_type": "v_prediction",
    "set_alpha_to_one": False,
    "sigma_max": 700.0,
    "sigma_min": 0.002,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "trained_betas": None,
    "use_karras_sigmas": True,
}
WAN = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}


def product(name, fixed=None, **choices):
    for values in itertools.product(*choices.values()):
        yield name, (fixed or {}) | dict(zip(choices, values, strict=True))


SPACINGS = ("linspace", "leading", "trailing")
CASES = [
    *product(
        "EulerDiscreteScheduler",
        SCALED,
        timestep_spacing=SPACINGS,
        prediction_type=("epsilon", "v_prediction", "sample"),
        use_karras_sigmas=(False, True),
        final_sigmas_type=("zero", "sigma_min"),
        steps_offset=(0, 1),
    ),
    *product("EulerDiscreteScheduler", rescale_betas_zero_snr=(True,), timestep_spacing=SPACINGS),
    *product("EulerDiscreteScheduler", beta_schedule=("linear", "squaredcos_cap_v2")),
    *product("EulerDiscreteScheduler", {"timestep_type": "continuous"}, prediction_type=("epsilon",)),
    ("EulerDiscreteScheduler", SVD),
    *product(
        "DPMSolverMultistepScheduler",
        SCALED,
        timestep_spacing=SPACINGS,
        prediction_type=("epsilon", "v_prediction", "sample"),
        use_karras_sigmas=(False, True),
        final_sigmas_type=("zero", "sigma_min"),
        steps_offset=(0, 1),
    ),
    *product(
        "DPMSolverMultistepScheduler",
        SCALED,
        solver_type=("midpoint", "heun"),
        lower_order_final=(True, False),
        euler_at_final=(True, False),
        final_sigmas_type=("zero", "sigma_min"),
    ),
    *product(
        "DPMSolverMultistepScheduler", SCALED, rescale_betas_zero_snr=(True,), timestep_spacing=SPACINGS
    ),
    *product(
        "DPMSolverMultistepScheduler",
        beta_schedule=("linear", "squaredcos_cap_v2"),
        use_karras_sigmas=(True, False),
    ),
    *product(
        "DDIMScheduler",
        SCALED,
        timestep_spacing=SPACINGS,
        prediction_type=("epsilon", "v_prediction", "sample"),
        clip_sample=(True, False),
        set_alpha_to_one=(True, False),
        steps_offset=(0, 1),
    ),
    *product("DDIMScheduler", beta_schedule=("linear", "squaredcos_cap_v2"), clip_sample_range=(1.0, 2.5)),
    *product(
        "DDIMScheduler",
        SCALED | {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
        timestep_spacing=SPACINGS,
    ),
    *product("FlowMatchEulerDiscreteScheduler", shift=(1.0, 3.0, 5.0), shift_terminal=(None, 0.1)),
    *product(
        "FlowMatchEulerDiscreteScheduler",
        {"use_dynamic_shifting": True},
        time_shift_type=("exponential", "linear"),
        shift=(1.0, 3.0),
        shift_terminal=(None, 0.1),
    ),
    *product(
        "UniPCMultistepScheduler",
        WAN,
        solver_order=(1, 2, 3),
    ),
    *product("UniPCMultistepScheduler", WAN, flow_shift=(1.0, 5.0), shift_terminal=(None, 0.1)),
]
IDS = [
    f"{name}-{'-'.join(f'{key}={value}' for key, value in options.items() if key not in SCALED)}"
    for name, options in CASES
]


def close(ours, theirs, what):
    theirs = np.asarray(theirs, np.float64)
    error = np.abs(np.asarray(ours, np.float64) - theirs).max() / max(np.abs(theirs).max(), 1e-3)
    assert error <= TOLERANCE, f"{what}: {error:.2e}"


def written(name, options):
    """The file as diffusers writes it, and its scheduler."""
    theirs = getattr(diffusers, name).from_config(options)
    return json.loads(theirs.to_json_string()), theirs


def dynamic(config):
    return {"mu": dynamic_shift(config, 1024)} if config.get("use_dynamic_shifting") else {}


def answer(x):
    """A network's output: neither zero nor the input, and no larger."""
    return np.asarray(np.sin(3 * x) * np.float32(0.7), np.float32)


def denoise_both(ours, theirs, begin=0):
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 3)).astype(np.float32)
    x = x * np.float32(ours.init_noise_sigma)
    theirs_x = torch.from_numpy(x.copy())
    for i, t in enumerate(theirs.timesteps[begin:], start=begin):
        scaled = theirs.scale_model_input(theirs_x, t) if hasattr(theirs, "scale_model_input") else theirs_x
        close(ours.scale_input(x, i), scaled, f"input {i}")
        # Both answer alike, so that what differs is the scheduler and not the network.
        output = answer(scaled.numpy())
        theirs_x = theirs.step(torch.from_numpy(output), t, theirs_x, return_dict=False)[0]
        x = ours.step(output, i, x)
        assert x.dtype == np.float32
        close(x, theirs_x, f"sample {i}")


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_equals_diffusers(name, options):
    config, _ = written(name, options)
    for steps in STEPS[1:] if config.get("shift_terminal") else STEPS:
        _, theirs = written(name, options)
        theirs.set_timesteps(steps, **dynamic(config))
        ours = scheduler(config, steps, **dynamic(config))
        assert ours.timesteps.dtype == theirs.timesteps.numpy().dtype
        close(ours.timesteps, theirs.timesteps, f"{steps} timesteps")
        close(ours.init_noise_sigma, float(getattr(theirs, "init_noise_sigma", 1)), "init_noise_sigma")
        denoise_both(ours, theirs)


@pytest.mark.parametrize(("name", "options"), CASES[:: len(CASES) // 30])
def test_begins_in_the_middle_as_image_to_image_does(name, options):
    config, theirs = written(name, options)
    theirs.set_timesteps(20, **dynamic(config))
    ours = scheduler(config, 20, **dynamic(config))
    begin, draw = 8, np.random.default_rng(1)
    x0, noise = (draw.standard_normal((1, 4, 3, 3)).astype(np.float32) for _ in range(2))
    if hasattr(theirs, "set_begin_index"):
        theirs.set_begin_index(begin)
    add = theirs.scale_noise if name.startswith("Flow") else theirs.add_noise
    arguments = {
        "timesteps" if add.__name__ == "add_noise" else "timestep": theirs.timesteps[begin : begin + 1]
    }
    tensors = [torch.from_numpy(x0), torch.from_numpy(noise)]
    expected = add(tensors[0], noise=tensors[1], **arguments)
    close(ours.add_noise(x0, noise, begin), expected, "noised")
    denoise_both(ours, theirs, begin)


def test_takes_the_sigmas_that_a_pipeline_chooses():
    """FLUX: its own sigmas, shifted by the size of the picture."""
    config, theirs = written("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True, "shift": 3.0})
    sigmas = np.linspace(1, 1 / 28, 28)
    theirs.set_timesteps(sigmas=sigmas, mu=0.8)
    ours = scheduler(config, 28, mu=0.8, sigmas=sigmas)
    close(ours.timesteps, theirs.timesteps, "timesteps")
    denoise_both(ours, theirs)


def test_shift_grows_with_the_picture_as_in_the_flux_pipeline():
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    config, _ = written("FlowMatchEulerDiscreteScheduler", {})
    for tokens in (256, 1024, 4096, 5000):
        assert dynamic_shift(config, tokens) == pytest.approx(calculate_shift(tokens))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_knows_every_option_of_diffusers_with_its_default(name):
    signature = inspect.signature(getattr(diffusers, name).__init__).parameters
    theirs = {key: value.default for key, value in signature.items() if key != "self"}
    ours = {key: option.default for key, option in SCHEDULERS[name][1].items()}
    assert ours == theirs


def test_a_request_leaves_nothing_behind_for_the_next():
    config, _ = written("DPMSolverMultistepScheduler", SCALED)

    def run():
        solver, x = scheduler(config, 4), np.ones((1, 1, 2, 2), np.float32)
        for i in range(4):
            x = solver.step(answer(x), i, x)
        return x

    np.testing.assert_array_equal(run(), run())


@pytest.mark.parametrize(
    ("name", "options", "rule"),
    [
        ("PNDMScheduler", {}, "_class_name: must be EulerDiscreteScheduler or .*; PNDMScheduler given"),
        ("EulerDiscreteScheduler", {"use_beta_sigmas": True}, "use_beta_sigmas: must be False; True given"),
        ("EulerDiscreteScheduler", {"trained_betas": [0.1]}, "trained_betas: must be None"),
        ("EulerDiscreteScheduler", {"beta_start": "low"}, "beta_start: must be a number; low given"),
        ("EulerDiscreteScheduler", {"timestep_spacing": "even"}, "timestep_spacing: must be linspace or"),
        ("EulerDiscreteScheduler", {"sharpness": 2}, "sharpness: no option of a scheduler that is supported"),
        ("DPMSolverMultistepScheduler", {"solver_order": 3}, "solver_order: must be 2; 3 given"),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, "algorithm_type"),
        ("DPMSolverMultistepScheduler", {"lambda_min_clipped": -5.1}, "lambda_min_clipped: must be -inf"),
        ("DDIMScheduler", {"thresholding": True}, "thresholding: must be False; True given"),
        (
            "DDIMScheduler",
            {"steps_offset": 1, "timestep_spacing": "leading"},
            "steps_offset: with 1000 steps",
        ),
        ("UniPCMultistepScheduler", {}, "prediction_type: must be flow_prediction; epsilon given"),
        ("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}, "mu: is required"),
        ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}, "stochastic_sampling"),
    ],
)
def test_refuses_by_name_what_it_would_have_to_ignore(name, options, rule):
    with pytest.raises(ValueError, match=rule):
        scheduler({"_class_name": name} | options, 1000)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_refuses_steps_beyond_the_training_timesteps(steps):
    with pytest.raises(ValueError, match=f"steps: must be 1 to 1000; {steps} given"):
        scheduler({"_class_name": "EulerDiscreteScheduler"}, steps)


def test_refuses_a_shift_where_none_is_taken():
    with pytest.raises(ValueError, match="mu: not taken by EulerDiscreteScheduler"):
        scheduler({"_class_name": "EulerDiscreteScheduler"}, 4, mu=0.5)


def test_leaves_aside_what_diffusers_leaves_aside():
    """Published files carry options of the schedulers that they were converted from."""
    assert {"skip_prk_steps", "clip_sample", "set_alpha_to_one"} <= FOREIGN
    carried = {
        "_class_name": "EulerDiscreteScheduler",
        "_diffusers_version": "0.19.0",
        "skip_prk_steps": True,
    }
    assert (
        math.isclose(scheduler(carried, 4).init_noise_sigma, scheduler(SVD | carried, 4).init_noise_sigma)
        is False
    )
