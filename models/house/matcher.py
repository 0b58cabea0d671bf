"""The image-text matcher: one space for pictures and sentence embeddings, so that their cosine says how well they agree.

Pictures: EfficientNet-Lite0, its first layers frozen, the rest tuned, and a projection. Texts: MiniLM's sentence
embedding and a projection. Trained with a symmetric contrastive loss on worn views (`views`) of the icons and of
painted icons; a painted icon meets itself in another colour in the same batch, so that colour words count.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from models.house.colours import paint
from models.house.data import Icon, default_home, fetch, read_icons, read_pictures
from models.house.efficientnet import FEATURES, EfficientNetLite0, load_backbone
from models.house.held_out import HELD_OUT
from models.house.text import WIDTH, WORDS, encode, load_encoder
from models.house.views import SIZE, view

DIMENSION = 256
FROZEN_BLOCKS = 5
SAME_MEANING = 0.8  # captions closer than this are not held against each other
HELD_OUT_EVERY = 10


class ImageTower(nn.Module):
    """image uint8 [B, SIZE, SIZE, 3] -> L2-normalised embedding [B, 256]."""

    def __init__(self, backbone: EfficientNetLite0) -> None:
        super().__init__()
        self.backbone = backbone
        self.norm = nn.LayerNorm(FEATURES)
        self.hidden = nn.Linear(FEATURES, 384)
        self.project = nn.Linear(384, DIMENSION)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        x = (image.permute(0, 3, 1, 2).float() - 127) / 128
        x = self.norm(self.backbone(x.contiguous(memory_format=torch.channels_last)))
        return F.normalize(self.project(F.gelu(self.hidden(x))), dim=-1)


class TextTower(nn.Module):
    """text_embedding [B, 384], L2-normalised -> L2-normalised embedding [B, 256]."""

    def __init__(self) -> None:
        super().__init__()
        self.direct = nn.Linear(WIDTH, DIMENSION)
        self.hidden = nn.Linear(WIDTH, 512)
        self.project = nn.Linear(512, DIMENSION)

    def forward(self, text_embedding: Tensor) -> Tensor:
        """See the class."""
        x = text_embedding * WIDTH**0.5
        return F.normalize(self.direct(x) + self.project(F.gelu(self.hidden(x))), dim=-1)


class Matcher(nn.Module):
    """Both towers and the learnt temperature."""

    def __init__(self, backbone: EfficientNetLite0) -> None:
        super().__init__()
        self.image, self.text = ImageTower(backbone), TextTower()
        self.scale = nn.Parameter(torch.tensor(2.7))

    def loss(self, image: Tensor, text: Tensor, allowed: Tensor) -> Tensor:
        """Symmetric cross-entropy; `allowed` [B, B] is False where a pair must not count as a mismatch."""
        scores = self.image(image) @ self.text(text).T * self.scale.clamp(max=4.0).exp()
        scores = scores.masked_fill(~allowed, -1e4)
        target = torch.arange(len(image))
        return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2


def held_out_icons(icons: list[Icon]) -> set[str]:
    """Code points the matcher never sees: every tenth icon that no held-out prompt is about."""
    asked = {target.label for target in HELD_OUT}
    free = [icon.hexcode for icon in icons if icon.label not in asked and icon.weight == 1.0]
    return set(free[::HELD_OUT_EVERY])


def sentence_embeddings(home: Path) -> Tensor:
    """L2-normalised sentence embeddings [C, 384] of every prepared caption."""
    folder = home / "prepared"
    texts = json.loads((folder / "captions.json").read_text())
    pooled = torch.from_numpy(np.load(folder / "pooled.npy").astype(np.float32))
    encoder, tokenizer = load_encoder(home)
    # The prepared mean is over the first 12 tokens; only longer captions need a second look.
    long = [i for i, found in enumerate(tokenizer.encode_batch(texts)) if len(found.ids) > WORDS]
    _, pooled[long] = encode(encoder, tokenizer, [texts[i] for i in long], 64, progress=True)
    return F.normalize(pooled, dim=-1)


class Pairs:
    """Draws training batches: pictures at 128, captions by their weight, half of the painted ones with a sibling."""

    def __init__(self, home: Path, icons: list[Icon], batch: int) -> None:
        self.icons, self.batch = icons, batch
        self.pictures = read_pictures(home, icons, SIZE)
        self.text = sentence_embeddings(home)
        variants = json.loads((home / "prepared" / "variants.json").read_text())
        index = {icon.hexcode: i for i, icon in enumerate(icons)}
        held_out = held_out_icons(icons)
        captions: dict[tuple[int, str], list[tuple[int, float]]] = {}
        with np.load(home / "prepared" / "pairs.npz") as pairs:
            plain = (pairs["background"] == 255).all(1)
            for picture, caption, weight in zip(
                pairs["picture"][plain], pairs["caption"][plain], pairs["weight"][plain], strict=True
            ):
                hexcode, colour = variants[picture]
                if hexcode not in held_out:
                    captions.setdefault((index[hexcode], colour), []).append((int(caption), float(weight)))
        self.captions = captions
        self.plain = [key for key in captions if not key[1]]
        self.colours: dict[int, list[str]] = {}
        for i, colour in captions:
            if colour:
                self.colours.setdefault(i, []).append(colour)

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw image uint8 [B, SIZE, SIZE, 3], text [B, 384], allowed [B, B]."""
        painted = self.batch // 4
        keys = [self.plain[i] for i in rng.choice(len(self.plain), self.batch - painted, replace=False)]
        for i in rng.choice(list(self.colours), painted // 2, replace=False):
            pair = rng.choice(self.colours[int(i)], 2, replace=False)
            keys += [(int(i), str(colour)) for colour in pair]
        images, rows = [], []
        for i, colour in keys:
            rgba = paint(self.pictures[i], colour) if colour else self.pictures[i]
            images.append(view(rgba, rng, self.icons[i].mirrors))
            captions, weights = zip(*self.captions[i, colour], strict=True)
            rows.append(captions[rng.choice(len(captions), p=np.array(weights) / sum(weights))])
        text = self.text[rows]
        allowed = text @ text.T < SAME_MEANING
        for a, (i, colour) in enumerate(
            keys
        ):  # the same thing in another colour is a mismatch, however close the words
            for b, (j, other) in enumerate(keys):
                if i == j:
                    allowed[a, b] = a == b or bool(colour and other and colour != other)
        allowed.fill_diagonal_(True)
        return torch.from_numpy(np.stack(images)), text, allowed


def train(home: Path, steps: int, batch: int, seed: int = 0, start: Path | None = None) -> Matcher:
    """A matcher after `steps` batches, from the weights in `start` if given; cosine learning rate, the new layers faster than the tuned ones."""
    icons = read_icons(home)
    pairs = Pairs(home, icons, batch)
    matcher = Matcher(load_backbone(home)).to(memory_format=torch.channels_last)
    if start is not None:
        matcher.load_state_dict(torch.load(start, map_location="cpu", weights_only=True))
    backbone = matcher.image.backbone
    for module in (backbone.stem, *backbone.blocks[:FROZEN_BLOCKS]):
        module.requires_grad_(False)
    tuned = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    fresh = [parameter for name, parameter in matcher.named_parameters() if "backbone" not in name]
    groups = [
        {"params": tuned, "lr": 4e-4, "weight_decay": 0.01},
        {"params": fresh, "lr": 1.5e-3, "weight_decay": 0.05},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [4e-4, 1.5e-3], total_steps=steps, pct_start=0.1
    )
    losses, began = [], time.monotonic()
    for step in track(range(steps), description="matcher"):
        loss = matcher.loss(*pairs.draw(np.random.default_rng([seed, step])))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*tuned, *fresh], 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % 25 == 0:
            print(f"{step + 1} loss {np.mean(losses[-25:]):.3f} {time.monotonic() - began:.0f} s", flush=True)
    return matcher.eval()


def load_matcher(home: Path, path: Path) -> Matcher:
    """The matcher a training run saved."""
    matcher = Matcher(load_backbone(home))
    matcher.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return matcher.eval().requires_grad_(False)


def main() -> None:
    """`python -m models.house.matcher`: train the matcher on a prepared training set and save it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--home", type=Path, default=default_home())
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights to go on from (default: ImageNet's)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    fetch(args.home)
    matcher = train(args.home, args.steps, args.batch, args.seed, args.start)
    torch.save(matcher.state_dict(), args.home / "matcher.pt")


if __name__ == "__main__":
    main()
