"""`backend.yaml`: what the router is told of a built text-to-image model (`router.entries.BackendEntry`)."""

from typing import Any

from services.models.entry import Model, RandomSource, Residency

TIERS = {"draft": 0.5, "standard": 1.0, "high": 1.6}
CONCURRENCY, QUEUE = 1, 8  # what one machine's processor bears; the model itself draws two at a time
PRIOR_QUALITY = 0.5  # nobody has judged it yet: neither good nor bad


def backend(model: Model, pipeline: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of a built model; `pipeline` is its pipeline.json."""
    return {
        "name": f"triton/{model.name}",
        "kind": "triton",
        "model": model.name,
        "modality": "text-to-image",
        "requires": list(model.requires),
        "remedy": f"run `vmesh models build {model.name}`",
        "defaults": {name: pipeline["defaults"][name] for name in ("steps", "guidance_scale")},
        "tiers": TIERS,
        "limits": {"steps": pipeline["limits"]["steps"], "images": pipeline["limits"]["num_images"]},
        "sizes": [{"width": width, "height": height} for width, height in pipeline["sizes"]],
        # Noise from random weights is soon drawn: a router that knew no better would prefer it.
        "by_name": isinstance(model.source, RandomSource),
        "on_demand": model.residency is Residency.ON_DEMAND,
        "concurrency": CONCURRENCY,
        "queue": QUEUE,
        # A denoiser that is told its guidance as a number has no second run in which a negative prompt would count.
        "negative_prompts": all(stage["guidance"] == "classifier-free" for stage in pipeline["stages"]),
        "prior": {"quality": PRIOR_QUALITY, "seconds_per_step": pipeline["seconds_per_step"]},
    }
