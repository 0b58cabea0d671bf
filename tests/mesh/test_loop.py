"""A picture that is drawn again, through every server and by the real model."""

from scrollintel.visual import Output, Routed, VisualClient
from scrollintel.visual.events import Decision, Judged
from services.local.mesh import LocalMesh
from services.orchestrator import defaults
from tests.mesh.quick import QUICK, assert_sound
from tests.mesh.terminal import vmesh

SMALL = ("--steps", "4", "--size", "256x256")


async def test_a_picture_under_its_goal_is_drawn_again_and_the_better_one_delivered(client: VisualClient):
    generation = client.generate_image("a red apple", seed=7, min_quality=1.0, max_attempts=2, **QUICK)
    events = [event async for event in generation]
    assert_sound(events)
    first, second = [event for event in events if isinstance(event, Judged)]
    assert [first.decision, second.decision] == [Decision.REGENERATE, Decision.GIVE_UP]
    assert [first.seed, second.seed] == [7, defaults.attempt_seed(7, 2)]
    assert len([event for event in events if isinstance(event, Routed)]) == 2
    (told,) = [event for event in events if isinstance(event, Output)]
    (asset,) = (await generation.result()).assets
    best = max(first, second, key=lambda one: one.score)
    assert second.delivered == best.attempt
    assert asset.seed == told.seed == best.seed
    assert asset.quality.overall.value == best.score
    assert asset.metadata["attempts"] == "2"


async def test_a_picture_that_reaches_its_goal_is_drawn_once(client: VisualClient):
    generation = client.generate_image("a red apple", seed=7, min_quality=0.0, **QUICK)
    events = [event async for event in generation]
    assert_sound(events)
    assert [event.decision for event in events if isinstance(event, Judged)] == [Decision.ACCEPT]
    assert (await generation.result()).assets[0].seed == 7


async def test_an_estimate_is_told_before_anything_is_drawn(client: VisualClient):
    once = await client.estimate_image("a red apple")
    looped = await client.estimate_image("a red apple", num_images=2, min_quality=0.8, max_cost_usd=0.0)
    assert once.candidates[0].model == "text_to_image_house"
    assert (once.most_drawings, once.most_cost_usd) == (1, 0.0)
    assert (looped.most_drawings, looped.most_cost_usd) == (6, 0.0)
    assert once.most_seconds < looped.most_seconds


async def test_the_terminal_tells_every_decision_and_an_estimate_beforehand(mesh: LocalMesh, tmp_path):
    goal = ("--min-quality", "1", "--max-attempts", "2", "--quality-metric", "prompt_adherence")
    asked = ("generate", "a red apple", "--seed", "7", *SMALL, *goal, "-o", str(tmp_path))
    code, out, err = await vmesh(*asked, "--estimate", home=mesh.home)
    assert (code, err) == (0, "")
    assert "at most 2 drawings" in out
    assert not list(tmp_path.iterdir())
    code, _, err = await vmesh(*asked, home=mesh.home)
    assert code == 0, err
    assert err.index("drawn again") < err.index("not drawn again") < err.index("256 × 256")
    assert "prompt adherence," in err
