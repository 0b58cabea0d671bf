"""Measure the matcher on icons it never saw, turn its cosine into a score in [0, 1], and export it.

The score is a logistic of the cosine, fitted by maximum likelihood on worn views: true pairs (a view and one of the
icon's own names) against random pairs (the same view and another icon's name), half of them of icons the matcher never
saw and half of icons it knows. The held-out prompts take no part in the fit.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from models.house.captions import names_of, with_article
from models.house.colours import onto, paint
from models.house.data import Icon, default_home, read_icons, read_pictures
from models.house.export import export, write
from models.house.held_out import HELD_OUT
from models.house.matcher import Matcher, held_out_icons, load_matcher
from models.house.text import WIDTH, encode, load_encoder
from models.house.views import SIZE, clean, view

VIEWS = 6
Cosines = npt.NDArray[np.float32]
TOLERANCE = 2e-2  # on unit vectors of 256; the fp16 weights are rounded


@dataclass(frozen=True)
class Calibration:
    """score = 1 / (1 + exp(-(slope * cosine + offset)))."""

    slope: float
    offset: float

    def score(self, cosine: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Calibrated scores in (0, 1), same shape."""
        return 1 / (1 + np.exp(-(self.slope * cosine + self.offset)))


def fit(
    positive: npt.NDArray[np.float32], negative: npt.NDArray[np.float32], rounds: int = 50
) -> Calibration:
    """Logistic regression by Newton's method, both kinds of pair weighing the same in all."""
    cosine = np.concatenate([positive, negative]).astype(np.float64)
    truth = np.concatenate([np.ones(len(positive)), np.zeros(len(negative))])
    weight = np.concatenate(
        [np.full(len(positive), 0.5 / len(positive)), np.full(len(negative), 0.5 / len(negative))]
    )
    inputs = np.stack([cosine, np.ones_like(cosine)], 1)
    solution = np.zeros(2)
    for _ in range(rounds):
        predicted = 1 / (1 + np.exp(-inputs @ solution))
        curvature = weight * predicted * (1 - predicted)
        hessian = inputs.T @ (inputs * curvature[:, None]) + 1e-6 * np.eye(2)
        solution += np.linalg.solve(hessian, inputs.T @ (weight * (truth - predicted)))
    return Calibration(float(solution[0]), float(solution[1]))


def recall(similarity: npt.NDArray[np.float32], among: int) -> float:
    """Share of rows whose own column (the diagonal) is among the `among` greatest."""
    rank = (similarity > np.diagonal(similarity)[:, None]).sum(1)
    return float((rank < among).mean())


def embed_texts(matcher: Matcher, home: Path, texts: list[str]) -> Tensor:
    """Texts in the shared space [N, 256]."""
    _, mean = encode(*load_encoder(home), texts, 256)
    with torch.inference_mode():
        return matcher.text(F.normalize(mean, dim=-1))


def embed_images(matcher: Matcher, images: npt.NDArray[np.uint8], batch: int = 64) -> Tensor:
    """Images uint8 [N, SIZE, SIZE, 3] in the shared space [N, 256]."""
    with torch.inference_mode():
        return torch.cat([matcher.image(part) for part in torch.from_numpy(images).split(batch)])


def real_images(home: Path, icons: list[Icon]) -> npt.NDArray[np.uint8]:
    """What the held-out prompts ask for, from the icons (painted where a colour is asked): uint8 [N, SIZE, SIZE, 3]."""
    by_label = {icon.label: icon for icon in icons}
    pictures = read_pictures(home, [by_label[target.label] for target in dict.fromkeys(HELD_OUT)], SIZE)
    order = {target.label: i for i, target in enumerate(HELD_OUT)}
    shown = [pictures[order[target.label]] for target in HELD_OUT]
    return np.stack(
        [
            onto(paint(rgba, target.colour) if target.colour else rgba)
            for rgba, target in zip(shown, HELD_OUT, strict=True)
        ]
    )


def worn_cosines(
    matcher: Matcher, home: Path, icons: list[Icon], rng: np.random.Generator
) -> tuple[Cosines, Cosines]:
    """Cosines of worn views of the icons with their own names, and with each other's."""
    pictures = read_pictures(home, icons, SIZE)
    names = [[with_article(names_of(icon)[0]) for icon in icons], [names_of(icon)[-1] for icon in icons]]
    texts = [embed_texts(matcher, home, one).numpy() for one in names]
    others, positive, negative = ~np.eye(len(icons), dtype=bool), [], []
    for _ in range(VIEWS):
        images = np.stack([view(rgba, rng, icon.mirrors) for rgba, icon in zip(pictures, icons, strict=True)])
        found = embed_images(matcher, images).numpy()
        for text in texts:
            cosine = found @ text.T
            positive.append(np.diagonal(cosine))
            negative.append(cosine[others])
    return np.concatenate(positive), np.concatenate(negative)


def report(name: str, cosine: Cosines, calibration: Calibration) -> dict[str, float | int]:
    """Retrieval, mean cosine and mean score of a square table of pictures (rows) and their texts (columns)."""
    own, others = np.diagonal(cosine), cosine[~np.eye(len(cosine), dtype=bool)]
    return {
        f"{name}_pairs": len(cosine),
        f"{name}_recall_at_1": recall(cosine, 1),
        f"{name}_recall_at_5": recall(cosine, 5),
        f"{name}_true_cosine": float(own.mean()),
        f"{name}_random_cosine": float(others.mean()),
        f"{name}_true_score": float(calibration.score(own).mean()),
        f"{name}_random_score": float(calibration.score(others).mean()),
        f"{name}_true_above_half": float((calibration.score(own) > 0.5).mean()),
        f"{name}_random_above_half": float((calibration.score(others) > 0.5).mean()),
    }


def measure(home: Path, matcher: Matcher) -> tuple[Calibration, dict[str, float | int]]:
    """The calibration and the figures behind it."""
    everything = read_icons(home)
    hidden = held_out_icons(everything)
    asked = {target.label for target in HELD_OUT}
    unseen = [icon for icon in everything if icon.hexcode in hidden]
    known = [icon for icon in everything if icon.hexcode not in hidden and icon.label not in asked]
    rng = np.random.default_rng(0)
    sample = [known[i] for i in rng.choice(len(known), len(unseen), replace=False)]
    parts = [worn_cosines(matcher, home, icons, rng) for icons in (unseen, sample)]
    calibration = fit(*(np.concatenate(one) for one in zip(*parts, strict=True)))
    clean_views = np.stack([clean(rgba) for rgba in read_pictures(home, unseen, SIZE)])
    labels = embed_texts(matcher, home, [with_article(names_of(icon)[0]) for icon in unseen]).numpy()
    prompts = embed_texts(matcher, home, [target.prompt for target in HELD_OUT]).numpy()
    real = embed_images(matcher, real_images(home, everything)).numpy()
    figures = report("unseen_icons", embed_images(matcher, clean_views).numpy() @ labels.T, calibration)
    return calibration, figures | report("held_out_prompts", real @ prompts.T, calibration)


def main() -> None:
    """`python -m models.house.calibrate`: measure, print, and write model_repository/image_text_matcher/1/."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--home", type=Path, default=default_home())
    parser.add_argument("--out", type=Path, default=Path("model_repository/image_text_matcher/1"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    matcher = load_matcher(args.home, args.home / "matcher.pt")
    calibration, figures = measure(args.home, matcher)
    table = Table("figure", "value", title="matcher, on what it was not trained on")
    for name, value in figures.items():
        table.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value))
    Console().print(table)
    rng = torch.Generator().manual_seed(0)
    images = [
        torch.randint(0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8, generator=rng) for count in (2, 1, 5)
    ]
    texts = [F.normalize(torch.randn(count, WIDTH, generator=rng), dim=-1) for count in (2, 1, 5)]
    free = {"image": {0: "batch"}, "text_embedding": {0: "batch"}, "*": {0: "batch"}}
    graph = export(
        matcher.image.to(memory_format=torch.contiguous_format), {"image": images[0]}, ["embedding"], free
    )
    write(matcher.image, graph, [{"image": image} for image in images], args.out / "model.onnx", TOLERANCE)
    graph = export(matcher.text, {"text_embedding": texts[0]}, ["text"], free)
    write(
        matcher.text,
        graph,
        [{"text_embedding": text} for text in texts],
        args.out / "text_projection.onnx",
        TOLERANCE,
    )
    how = "logistic, worn views with their own names against others' names, half of the icons never seen in training"
    content = {
        "score": "1 / (1 + exp(-(slope * cosine + offset)))",
        **asdict(calibration),
        "image_size": SIZE,
        "fitted": how,
        "figures": {
            name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()
        },
    }
    (args.out / "calibration.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
