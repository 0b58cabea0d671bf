"""What is remembered of a run and of how its result was judged: what the router learns from. Pure."""

from dataclasses import dataclass

OK = "OK"
CANCELLED = "CANCELLED"  # by its caller, or because another run was quicker
INTERNAL = "INTERNAL"  # an adapter's mistake


@dataclass(frozen=True, slots=True)
class Work:
    """How much a run had to do: denoising steps, megapixels and number of its pictures, frames of each.

    A backend without steps counts 1; a still picture has 1 frame.
    """

    steps: int
    megapixels: float
    images: int
    frames: int = 1


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a request on one backend, ended.

    `attempt` counts the runs of a request, from 1. `outcome` is OK or the name of the error's reason. `seconds` is what
    the backend took by itself, `waited` what came before in its queue, `loading` what bringing its model in took (0
    where it was there); `beside` is how many other runs it had when this one began. `at` is when it ended, in seconds
    since the epoch. `experiment`, `arm` and `unit`, a hash of who the request counted as, are empty outside
    experiments; a `shadow` was never shown to anybody.
    """

    request_id: str
    generation_id: str
    attempt: int
    tenant: str
    backend: str
    model: str
    prompt_class: str
    work: Work
    outcome: str
    seconds: float
    waited: float
    loading: float
    beside: int
    usd: float
    at: float
    experiment: str = ""
    arm: str = ""
    shadow: bool = False
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a result was judged, as far as it was: quality in [0, 1], refused by the safety check, rating 1 to 5.

    `request_id` is the request's or the generation's; `at` is in seconds since the epoch.
    """

    request_id: str
    tenant: str
    at: float
    quality: float | None = None
    unsafe: bool | None = None
    rating: int | None = None
