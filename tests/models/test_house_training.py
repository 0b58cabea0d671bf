"""The house model's own code: captions, colours, network, training, resumption. No downloads, a few seconds."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from models.house.captions import (
    FORBIDDEN,
    allowed,
    background_captions,
    captions,
    painted_captions,
    said,
    sole_tags,
    with_article,
)
from models.house.colours import BACKGROUNDS, PAINTS, colour_name, onto, paint
from models.house.data import Icon
from models.house.held_out import HELD_OUT
from models.house.synonyms import SYNONYMS

needs_torch = pytest.mark.skipif(
    find_spec("torch") is None, reason="torch is an extra: pip install 'visual-mesh[train]'"
)
GRAPH = Path(__file__).parents[2] / "model_repository" / "text_to_image_house" / "1" / "model.onnx"
ICONS = [
    Icon(f"1f{index:03x}", label, ("thing", f"tag {index}", "kitty"), 3, 34)
    for index, label in enumerate([*SYNONYMS, "smiling young woman", "Juicy red apple!", "green car"])
]


def every_caption(icon: Icon) -> list[str]:
    tags = sole_tags(ICONS)[icon.hexcode]
    found = [text for text, _ in captions(icon, tags, "red")]
    found += [text for colour in PAINTS for text in painted_captions(icon, colour)]
    return found + [text for colour in BACKGROUNDS for text in background_captions(icon, colour)]


def test_captions_are_the_same_every_time() -> None:
    assert [captions(icon, ("kitty",), "red") for icon in ICONS] == [
        captions(icon, ("kitty",), "red") for icon in ICONS
    ]


def test_no_caption_says_what_a_held_out_prompt_says() -> None:
    everything = [text for icon in ICONS for text in every_caption(icon)]
    assert len(everything) > 10_000
    assert not {said(text) for text in everything} & FORBIDDEN


def test_the_held_out_check_sees_through_articles_case_and_punctuation() -> None:
    assert len(FORBIDDEN) == len(HELD_OUT)
    assert allowed(["The juicy red apple!", "an apple", "an apple"]) == ["an apple"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cat", "a cat"),
        ("owl", "an owl"),
        ("unicorn", "a unicorn"),
        ("jeans", "jeans"),
        ("Tokyo tower", "Tokyo tower"),
    ],
)
def test_articles(name: str, expected: str) -> None:
    assert with_article(name) == expected


def test_a_tag_stands_alone_only_where_it_is_rare_and_no_label() -> None:
    few = [Icon("a", "cat face", ("animal", "kitty", "cat"), 3, 34), Icon("b", "cat", ("animal",), 3, 34)]
    few += [Icon(str(index), f"beast {index}", ("animal",), 3, 34) for index in range(3)]
    assert sole_tags(few)["a"] == ["kitty"]


@pytest.mark.parametrize("colour", ["red", "orange", "yellow", "green", "blue", "purple"])
def test_painting_gives_the_colour_it_names_and_leaves_the_rest(colour: str) -> None:
    picture = np.zeros((32, 32, 4), np.uint8)
    picture[4:28, 4:28] = (40, 150, 220, 255)
    picture[14:18, 14:18] = (128, 128, 128, 255)
    painted = paint(picture, colour)
    assert colour_name(painted) == colour
    np.testing.assert_array_equal(painted[14:18, 14:18], picture[14:18, 14:18])
    np.testing.assert_array_equal(onto(painted)[0, 0], (255, 255, 255))


def test_clocks_and_writing_are_never_mirrored() -> None:
    assert Icon("1f408", "cat", (), 3, 34).mirrors
    assert not Icon("1f552", "three o’clock", (), 5, 58).mirrors
    assert not Icon("1f6d1", "stop sign", (), 5, 54).mirrors


@pytest.fixture
def tiny():
    """A factory of trainers of a tiny network on four fixed pictures, fp32."""
    torch = pytest.importorskip("torch", reason="torch is an extra: pip install 'visual-mesh[train]'")
    torch.set_num_threads(1)
    from models.house.dataset import Batch
    from models.house.network import HouseModel
    from models.house.train import Plan, Trainer

    source = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 1, 1, generator=source).expand(4, 3, 16, 16) * 2 - 1
    words = torch.randn(4, 12, 384, generator=source)

    def batch(rng: np.random.Generator, count: int) -> Batch:
        rows = torch.from_numpy(rng.integers(4, size=count))
        return Batch(images[rows], words[rows], words[rows].mean(1))

    def make(steps: int) -> Trainer:
        torch.manual_seed(0)
        model = HouseModel(size=16, patch=8, width=32, depth=2, heads=2, bottleneck=16)
        return Trainer(model, batch, Plan(steps=steps), peak=3e-3, batch=8, dtype=torch.float32)

    return make


@needs_torch
def test_the_network_keeps_the_shape_and_the_head_starts_as_the_identity() -> None:
    import torch

    from models.house.network import HouseModel

    model = HouseModel(size=16, patch=8, width=32, depth=1, heads=2, bottleneck=16)
    image = torch.randn(3, 3, 16, 16)
    assert model(image, torch.rand(3), torch.randn(3, 12, 384), torch.randn(3, 384)).shape == image.shape
    assert torch.equal(model.refine(image, torch.randn_like(image), torch.rand(3)), image)


@needs_torch
def test_training_lowers_the_error(tiny) -> None:
    trainer = tiny(60)
    errors = [trainer.train_step()[0] for _ in range(60)]
    assert np.mean(errors[-10:]) < 0.5 * np.mean(errors[:10])
    assert trainer.done()


@needs_torch
def test_a_resumed_run_is_an_unbroken_run(tiny, tmp_path) -> None:
    import torch

    whole, first, second = tiny(10), tiny(10), tiny(10)
    for _ in range(10):
        whole.train_step()
    for _ in range(4):
        first.train_step()
    first.save(tmp_path / "checkpoint.pt")
    second.load(tmp_path / "checkpoint.pt")
    assert second.step == 4
    for _ in range(6):
        second.train_step()
    assert torch.equal(second.flat.master, whole.flat.master)
    assert torch.equal(second.ema, whole.ema)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


@needs_torch
def test_the_learning_rate_warms_up_stays_flat_and_falls() -> None:
    from models.house.train import learning_rate

    rates = [
        learning_rate(1.0, step, progress, 0.3)
        for step, progress in [(0, 0.0), (100, 0.3), (900, 0.7), (999, 1.0)]
    ]
    assert rates == pytest.approx([0.02, 1.0, 1.0, 0.02])
    assert 0.4 < learning_rate(1.0, 950, 0.85, 0.3) < 0.6


@needs_torch
def test_an_asked_for_stop_ends_after_the_step_in_hand(tiny) -> None:
    trainer = tiny(100)
    trainer.asked_to_stop = True
    assert not trainer.done()
    trainer.train_step()
    assert trainer.done()
    assert trainer.step == 1


@needs_torch
def test_an_image_depends_on_its_own_seed_only(tiny) -> None:
    import torch

    from models.house.sample import draw, noise

    model = tiny(1).model.eval()
    words, null = torch.randn(3, 12, 384), torch.zeros(1, 12, 384)

    def drawn(rows: list[int]) -> torch.Tensor:
        start = noise(rows, 16)
        return draw(model, words[rows], words[rows].mean(1), null, null.mean(1), start, steps=3)

    together, alone = drawn([0, 1, 2]), drawn([2])
    torch.testing.assert_close(together[2], alone[0], atol=1e-5, rtol=0)
    assert torch.equal(drawn([1]), drawn([1]))


@needs_torch
def test_the_committed_graph_is_the_network_and_training_can_go_on_from_it() -> None:
    import onnxruntime
    import torch

    from models.house.export import TOLERANCE, example
    from models.house.network import load_model

    torch.set_num_threads(1)
    model = load_model(GRAPH)
    inputs = example(model, 3, seed=5)
    session = onnxruntime.InferenceSession(str(GRAPH), providers=["CPUExecutionProvider"])
    (found,) = session.run(["x"], {name: value.numpy() for name, value in inputs.items()})
    np.testing.assert_allclose(found, model(*inputs.values()).numpy(), atol=TOLERANCE, rtol=0)
