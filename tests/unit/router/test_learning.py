"""What is learned of runs and verdicts: it comes near the truth, says how near, and believes a change soon."""

import random
from itertools import pairwise
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.demand import Modality
from router.learning import Learning
from router.learning.loading import NEVER
from router.learning.seconds import Pace, Prior
from router.prompt_class import PromptClass
from router.runs import OK, Run, Verdict, Work
from tests.unit.router.scripted import entry

PRIOR = Prior(3.6, Work(24, 1.05, 1))  # measured on a machine three times as slow
NOISE = 0.15


def truth(work, beside):
    """What a made-up backend takes on average."""
    megapixels = work.megapixels * work.images * work.frames
    strokes = work.steps * megapixels
    return 0.8 + 0.04 * strokes + 0.35 * megapixels + 0.008 * strokes * beside


def some_work(rng):
    return Work(
        rng.choice((12, 24, 48)), rng.choice((0.26, 0.59, 1.05)), rng.choice((1, 1, 2, 4))
    ), rng.randrange(4)


def follow(runs, slower=lambda index: 1.0, seed=0, prior=PRIOR):
    """Let a pace learn from so many runs; return it, and each run's error before it was learned, relative to the truth."""
    rng, pace, errors = random.Random(seed), Pace(prior), []
    for index in range(runs):
        work, beside = some_work(rng)
        expected = truth(work, beside) * slower(index)
        errors.append(abs(pace.forecast.seconds(work, beside) / expected - 1))
        pace.observe(work, beside, expected * rng.lognormvariate(-(NOISE**2) / 2, NOISE))
    return pace, errors


def many(runs, **options):
    """The mean error at each run, over some days of traffic."""
    return [
        mean(at) for at in zip(*(follow(runs, seed=seed, **options)[1] for seed in range(8)), strict=True)
    ]


def test_the_error_falls_with_every_tenfold_of_runs():
    errors = many(400)
    early, middle, late = mean(errors[3:10]), mean(errors[40:60]), mean(errors[350:])
    print(
        f"relative error of seconds: {early:.3f} after 3-10 runs, {middle:.3f} after 50, {late:.3f} after 400"
    )
    assert early < 0.3
    assert middle < 0.08
    assert late < 0.03


@pytest.mark.parametrize("factor", [0.1, 1, 30])
def test_a_prior_that_is_wrong_by_a_factor_is_soon_forgotten(factor):
    prior = PRIOR._replace(seconds=1.2 * factor)
    assert mean(many(40, prior=prior)[20:]) < 0.12


def test_small_and_large_work_are_told_apart():
    """The errors are relative, so a day of large pictures does not drown what small ones say."""
    pace, _ = follow(400)
    for work in (Work(12, 0.26, 1), Work(48, 1.05, 4)):
        for beside in (0, 3):
            assert pace.forecast.seconds(work, beside) == pytest.approx(truth(work, beside), rel=0.1)


def test_the_deviation_says_how_far_off_runs_are():
    rng = random.Random(1)
    pace, _ = follow(200)
    inside = 0
    for _ in range(1000):
        work, beside = some_work(rng)
        seconds = truth(work, beside) * rng.lognormvariate(-(NOISE**2) / 2, NOISE)
        inside += abs(seconds - pace.forecast.seconds(work, beside)) < 1.96 * pace.forecast.deviation(
            work, beside
        )
    assert 0.92 < inside / 1000 < 0.99
    assert pace.forecast.noise == pytest.approx(NOISE, rel=0.3)


def test_what_was_not_seen_is_known_less():
    rng, pace = random.Random(2), Pace(PRIOR)
    for _ in range(50):
        pace.observe(Work(24, 0.26, 1), 0, truth(Work(24, 0.26, 1), 0) * rng.lognormvariate(0, NOISE))
    doubts = [
        pace.forecast.doubt(24 * megapixels, megapixels, 0) / pace.forecast.at(24 * megapixels, megapixels, 0)
        for megapixels in (0.26, 1.0, 4.0)
    ]
    assert all(less < more for less, more in pairwise(doubts))


@pytest.mark.parametrize("after", [30, 150])
def test_a_backend_that_becomes_three_times_slower_is_believed_within_ten_runs(after):
    errors = many(after + 30, slower=lambda index: 3.0 if index >= after else 1.0)
    print(f"after the change: {', '.join(f'{error:.2f}' for error in errors[after : after + 12])}")
    assert errors[after] > 0.6
    assert mean(errors[after + 10 : after + 15]) < 0.2


def test_a_backend_that_becomes_three_times_faster_is_believed_too():
    errors = many(90, slower=lambda index: 1 / 3 if index >= 60 else 1.0)
    assert mean(errors[70:75]) < 0.25


def test_one_run_far_off_changes_little():
    pace, _ = follow(100)
    work = Work(24, 0.59, 1)
    before = pace.forecast.seconds(work)
    pace.observe(work, 0, before * 100)
    assert pace.forecast.seconds(work) == pytest.approx(before, rel=0.1)


works = st.builds(
    Work,
    steps=st.integers(1, 150),
    megapixels=st.floats(1e-4, 33),
    images=st.integers(1, 16),
    frames=st.integers(1, 600),
)


@given(
    st.builds(Prior, st.floats(1e-4, 1e4), works),
    st.lists(st.tuples(works, st.integers(0, 64), st.floats(1e-6, 1e6)), max_size=30),
    works,
)
def test_no_prediction_is_ever_negative_or_certain(prior, runs, work):
    pace = Pace(prior)
    for done, beside, seconds in runs:
        pace.observe(done, beside, seconds)
    for beside in (0, 64):
        assert 0 < pace.forecast.seconds(work, beside) < float("inf")
        assert 0 < pace.forecast.deviation(work, beside) < float("inf")


def run(seconds=1.0, **changes):
    values = {
        "request_id": "r",
        "generation_id": "g",
        "attempt": 1,
        "tenant": "t",
        "backend": "triton/alpha",
        "model": "alpha",
        "prompt_class": "portrait",
        "work": Work(8, 0.000256, 1),
        "outcome": OK,
        "seconds": seconds,
        "waited": 0.0,
        "loading": 0.0,
        "beside": 0,
        "usd": 0.0,
        "at": 1.0,
    }
    return Run(**(values | changes))


def verdict(**said):
    return Verdict("r", "t", 1.0, **said)


def seconds_of(learning):
    return learning.forecast("triton/alpha").seconds(run().work)


def quality_of(learning, prompt_class=PromptClass.PORTRAIT):
    return learning.quality("triton/alpha").classes[prompt_class]


def test_the_prior_is_that_of_the_entry():
    learning = Learning([entry()])
    assert seconds_of(learning) == pytest.approx(0.08, rel=0.05)
    assert quality_of(learning).mean == 0.5
    assert learning.loading("triton/alpha") is NEVER


def test_the_parts_of_a_video_are_told_apart_as_those_of_a_picture():
    """The prior of a video model is about a frame; what is learned is about videos of 5 and 10 seconds."""
    video = entry(
        modality=Modality.VIDEO,
        sizes=[{"width": 1280, "height": 720}],
        durations=(5, 10),
        defaults={"steps": 1, "guidance_scale": 0},
        prior={"quality": 0.5, "seconds_per_step": 15 / 24},
    )
    learning, rng = Learning([video]), random.Random(4)
    five, ten = Work(1, 0.9216, 1, 120), Work(1, 0.9216, 1, 240)
    assert learning.forecast("triton/alpha").seconds(five) == pytest.approx(75, rel=0.01)
    for _ in range(40):
        work = rng.choice((five, ten))
        learning.observe(run((30 + work.frames / 8) * rng.lognormvariate(0, 0.1), work=work))
    assert learning.forecast("triton/alpha").seconds(five) == pytest.approx(45, rel=0.1)
    assert learning.forecast("triton/alpha").seconds(ten) == pytest.approx(60, rel=0.1)


def test_failed_runs_and_nonsense_say_nothing_of_seconds():
    learning = Learning([entry()])
    before = learning.forecast("triton/alpha")
    nothing = Work(8, 0.0, 1)
    for seconds, changes in [
        (9.0, {"outcome": "MODEL_FAILED"}),
        (9.0, {"work": nothing}),
        (0.0, {}),
        (-1.0, {}),
        (float("nan"), {}),
        (float("inf"), {}),
    ]:
        learning.observe(run(seconds, **changes))
    assert learning.forecast("triton/alpha") == before


def test_nothing_is_learned_of_a_backend_that_nobody_added():
    learning = Learning([entry()])
    learning.observe(run(9.0, backend="triton/omega"))
    learning.judge(run(backend="triton/omega"), verdict(quality=1.0))
    with pytest.raises(KeyError):
        learning.forecast("triton/omega")


def test_a_backend_that_is_added_again_keeps_what_was_learned():
    learning = Learning([entry()])
    for _ in range(10):
        learning.observe(run(4.0))
    known = learning.forecast("triton/alpha")
    learning.add(entry(prior={"quality": 0.9, "seconds_per_step": 9.0}))
    assert learning.forecast("triton/alpha") == known


def test_loads_are_learned_apart_from_runs_even_when_the_run_failed():
    learning = Learning([entry()])
    before = learning.forecast("triton/alpha")
    learning.observe(run(1.0, loading=20.0, outcome="MODEL_FAILED"))
    assert learning.loading("triton/alpha") == (20.0, 10.0)
    for _ in range(20):
        learning.observe(run(1.0, loading=5.0, outcome="MODEL_FAILED"))
    assert learning.loading("triton/alpha").seconds == pytest.approx(5.0, rel=0.01)
    assert learning.loading("triton/alpha").deviation < 0.6
    assert learning.forecast("triton/alpha") == before


def test_the_same_runs_and_verdicts_give_the_same_state():
    rng = random.Random(3)
    past = [
        (run(rng.lognormvariate(0, 1), beside=rng.randrange(3)), verdict(quality=rng.random()))
        for _ in range(60)
    ]
    states = []
    for _ in range(2):
        learning = Learning([entry()])
        for done, said in past:
            learning.observe(done)
            learning.judge(done, said)
        states.append((learning.forecast("triton/alpha"), learning.quality("triton/alpha")))
    assert states[0] == states[1]


def test_quality_is_learned_for_each_class_and_lends_to_the_others():
    learning = Learning([entry()])
    first = quality_of(learning)
    for _ in range(30):
        learning.judge(run(), verdict(quality=0.9))
    portrait, diagram = quality_of(learning), quality_of(learning, PromptClass.DIAGRAM)
    assert portrait.mean == pytest.approx(0.9, abs=0.03)
    assert portrait.deviation < diagram.deviation < first.deviation
    assert 0.5 < diagram.mean < portrait.mean
    for _ in range(30):
        learning.judge(run(prompt_class="diagram"), verdict(quality=0.2))
    assert quality_of(learning, PromptClass.DIAGRAM).mean == pytest.approx(0.2, abs=0.06)
    assert quality_of(learning).mean > 0.8


def test_a_class_of_a_newer_router_counts_as_other():
    learning = Learning([entry()])
    learning.judge(run(prompt_class="hologram"), verdict(quality=1.0))
    assert quality_of(learning, PromptClass.OTHER).mean > quality_of(learning, PromptClass.PORTRAIT).mean


def test_old_verdicts_fade():
    learning = Learning([entry()])
    for quality, times in ((0.9, 400), (0.3, 1200)):
        for _ in range(times):
            learning.judge(run(), verdict(quality=quality))
    assert quality_of(learning).mean == pytest.approx(0.3, abs=0.06)


@pytest.mark.parametrize(
    ("said", "worth"),
    [
        ({"rating": 5}, 1.0),
        ({"rating": 1}, 0.0),
        ({"unsafe": True}, 0.0),
        ({"unsafe": False}, 0.5),
        ({"quality": 7.0}, 1.0),
    ],
)
def test_a_verdict_is_worth_what_it_says(said, worth):
    learning = Learning([entry()])
    for _ in range(50):
        learning.judge(run(), verdict(**said))
    assert quality_of(learning).mean == pytest.approx(worth, abs=0.1)


def test_a_failed_run_is_not_judged():
    learning = Learning([entry()])
    before = learning.quality("triton/alpha")
    learning.judge(run(outcome="MODEL_FAILED"), verdict(quality=1.0))
    assert learning.quality("triton/alpha") == before
