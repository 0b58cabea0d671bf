"""A video's scores fall as its motion is spoilt, and its worst frames are not hidden by the others."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from services.quality.measure import Learnt
from services.quality.metrics.motion import Motion
from services.quality.scoring import VIDEO_WEIGHTS
from services.quality.video import Video, worst
from tests.unit.quality.moving import dropped, flickering, glide, shuffled
from tests.unit.quality.pictures import Pixels, blurred


def motion_of(frames: Sequence[Pixels]) -> Motion:
    motion = Motion()
    for frame in frames:
        motion.add(frame)
    return motion


def falls(values: Sequence[float | None], slack: float = 0.0) -> bool:
    known = [value for value in values if value is not None]
    assert len(known) == len(values)
    return all(b <= a + slack for a, b in pairwise(known)) and known[-1] < known[0] - 0.1


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_dropped_frames_lower_smoothness(name: str) -> None:
    videos = [dropped(glide(name), every) for every in (0, 8, 4)]
    values = [motion_of(video).smoothness for video in videos]
    assert falls(values)
    assert values[0] is not None
    assert values[0] > 0.85


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_shuffled_frames_lower_both(name: str) -> None:
    motions = [motion_of(shuffled(glide(name, speed=3), share)) for share in (0, 0.25, 1)]
    assert falls([motion.smoothness for motion in motions])
    assert falls([motion.consistency for motion in motions], slack=0.01)


@pytest.mark.parametrize("name", ["astronaut", "chelsea"])
def test_flicker_lowers_consistency_and_leaves_motion(name: str) -> None:
    motions = [motion_of(flickering(glide(name, 16), levels)) for levels in (0, 2, 6, 12)]
    assert falls([motion.consistency for motion in motions])
    smooth = [motion.smoothness or 0 for motion in motions]
    assert max(smooth) - min(smooth) < 0.15


def test_what_stands_still_is_consistent_and_smooth() -> None:
    motion = motion_of(glide()[:1] * 4)
    assert motion.consistency == pytest.approx(1)
    assert motion.smoothness == pytest.approx(1)


def test_too_few_or_too_small_frames_have_no_motion() -> None:
    one, two = motion_of(glide()[:1]), motion_of(glide()[:2])
    assert (one.consistency, one.smoothness, two.smoothness) == (None, None, None)
    assert two.consistency is not None
    tiny = motion_of([np.zeros((8, 200, 3), np.uint8)] * 4)
    assert (tiny.consistency, tiny.smoothness) == (None, None)


def test_one_spoilt_frame_in_ten_is_what_frame_quality_tells() -> None:
    learnt = Learnt.load()
    scores = []
    for spoilt in (0, 1, 2):
        video = Video(learnt)
        for number, frame in enumerate(glide(frames=10)):
            video.judge(blurred(frame, 3) if number < spoilt else frame)
        scores.append(video.scores()["frame_quality"].value)
    assert scores[0] > scores[1] + 0.3
    assert scores[1] == pytest.approx(scores[2], abs=0.1)


def test_the_worst_tenth_is_one_at_least() -> None:
    assert worst([]) is None
    assert worst([0.5, 0.1, 0.9]) == 0.1
    assert worst([0.2, 0.4] + [1.0] * 18) == pytest.approx(0.3)


def test_a_video_of_one_frame_has_no_motion_to_score() -> None:
    video = Video(Learnt.load())
    (frame,) = glide(frames=1)
    video.move(frame)
    video.judge(frame)
    assert set(video.scores()) == {"frame_quality"}
    assert sum(VIDEO_WEIGHTS.values()) == pytest.approx(1)
