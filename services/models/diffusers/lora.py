"""LoRA: low-rank changes merged into the weights before they are exported, W + scale * alpha / rank * B A.

(Hu et al., arXiv 2106.09685.) Read from `.safetensors` in the two ways of naming that are in use, kohya's
(`lora_unet_down_blocks_1_..._to_q.lora_down.weight`, also with the block names of the original SDXL code) and
diffusers' and PEFT's (`unet.down_blocks.1....to_q.lora_A.weight`). What has no place in the pipeline is refused by name.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.models.entry import Lora
from services.models.weights import read_tensors

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

KOHYA = {
    "lora_unet": "denoiser",
    "lora_te": "text_encoder",
    "lora_te1": "text_encoder",
    "lora_te2": "text_encoder_2",
    "lora_te3": "text_encoder_3",
}
PREFIXES = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
# The part of a key after the layer's name, and which matrix it stands for.
ENDINGS = (
    (re.compile(r"\.lora_(?:down|A|linear_layer\.down)(?:\.default)?\.weight$"), "down"),
    (re.compile(r"\.lora_(?:up|B|linear_layer\.up)(?:\.default)?\.weight$"), "up"),
    (re.compile(r"\.lora\.down\.weight$"), "down"),
    (re.compile(r"\.lora\.up\.weight$"), "up"),
    (re.compile(r"\.alpha$"), "alpha"),
)
PROCESSOR = re.compile(r"\.processor\.(to_\w+?)_lora\.(down|up)\.weight$")  # of diffusers before 0.22
METADATA = "lora_adapter_metadata"  # where diffusers keeps what PEFT was told, alpha among it
# Layers of the original SDXL code, and what diffusers calls them.
RESNET = {
    "in_layers_2": "conv1",
    "out_layers_3": "conv2",
    "emb_layers_1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}
SGM = re.compile(r"(input_blocks|middle_block|output_blocks)_(\d+)_(?:(\d+)_)?(.+)")


class LoraError(Exception):
    """A LoRA that cannot be merged; the text names the file, the keys and what would be understood."""


@dataclass
class Change:
    """What one layer's weights change by. `layer` is its name in the network, with `_` for `.` if `flat`."""

    component: str
    layer: str
    flat: bool
    down: "Tensor | None" = None
    up: "Tensor | None" = None
    alpha: float | None = None

    def delta(self, shape: Collection[int]) -> "Tensor":
        """Return alpha / rank * B A in the shape of the layer's weight. Raises ValueError where it does not fit."""
        if self.down is None or self.up is None:
            raise ValueError("one of its two matrices is missing")
        out, *inside = shape
        rank = len(self.down) if self.down.dim() > 1 else 0
        wide = self.up.dim() > 1 and self.up.numel() == out * rank and len(self.up) == out
        if not (rank and wide and self.down.numel() == rank * prod(inside)):
            raise ValueError(
                f"{tuple(self.up.shape)} and {tuple(self.down.shape)} do not make {tuple(shape)}"
            )
        product = self.up.float().flatten(1) @ self.down.float().flatten(1)
        return product.reshape(tuple(shape)) * ((rank if self.alpha is None else self.alpha) / rank)


@dataclass
class Merge:
    """The changes of several files, merged network by network; `finish` tells what found no network."""

    changes: list[tuple[str, float, Change]] = field(default_factory=list)  # file, scale, change
    done: set[str] = field(default_factory=set)

    def __call__(self, name: str, network: "Module") -> None:
        """Change a network in place. Raises LoraError naming layers that it has not, and matrices that do not fit."""
        import torch

        wanted = [entry for entry in self.changes if entry[2].component == name]
        self.done.add(name)
        layers = _layers(network)
        unknown = []
        for file, scale, change in wanted:
            layer = layers[change.flat].get(_translated(change, network))
            if layer is None:
                unknown.append(f"{file}: {name} has no {change.layer}")
                continue
            try:
                delta = change.delta(layer.weight.shape)
            except ValueError as error:
                raise LoraError(f"{file}: {name}, {change.layer}: {error}") from error
            with torch.no_grad():
                layer.weight.add_(scale * delta.to(layer.weight.dtype))
        if unknown:
            raise LoraError(f"{'; '.join(unknown[:5])}{f' and {len(unknown) - 5} more' * (len(unknown) > 5)}")

    def finish(self) -> None:
        """Raise LoraError if a change was for a network that was never there."""
        lost = sorted(
            {
                f"{file} changes {change.component}"
                for file, _, change in self.changes
                if change.component not in self.done
            }
        )
        if lost:
            raise LoraError(f"{', '.join(lost)}, which this pipeline has not")


def read(loras: Iterable[Lora], denoiser: str) -> Merge:
    """Read the files. Raises LoraError naming keys that are of neither kind, UnsafeFileError for a damaged file."""
    merge = Merge()
    for lora in loras:
        path = Path(lora.path)
        tensors, told = read_tensors(path), _metadata(path)
        changes: dict[tuple[str, str], Change] = {}
        unknown = [key for key, tensor in tensors.items() if not _place(key, tensor, denoiser, changes)]
        if unknown:
            raise LoraError(
                f"{path.name}: {', '.join(unknown[:5])}{' ...' * (len(unknown) > 5)}: no key of a LoRA in kohya's or "
                "diffusers' naming (LoHa, LoKr and DoRA are not supported)"
            )
        if told.get(f"{denoiser}.use_dora"):
            raise LoraError(f"{path.name}: is a DoRA, which is not supported")
        for change in changes.values():
            if change.alpha is None:
                change.alpha = _told_alpha(told, change)
            merge.changes.append((path.name, lora.scale, change))
    return merge


def _place(key: str, tensor: "Tensor", denoiser: str, changes: dict[tuple[str, str], Change]) -> bool:
    """Put a tensor into the change that it is of; False where the key is not understood."""
    kohya = key.startswith("lora_")
    if kohya:
        found = next((p for p in sorted(KOHYA, key=len, reverse=True) if key.startswith(f"{p}_")), None)
        component = {"denoiser": denoiser}.get(KOHYA[found], KOHYA[found]) if found else ""
        rest = key[len(found) + 1 :] if found else ""
    else:
        prefix, _, rest = key.partition(".")
        component = prefix if prefix in PREFIXES else ""
    layer, matrix = _ending(rest)
    if not component or not matrix or (matrix == "alpha" and tensor.numel() != 1):
        return False
    change = changes.setdefault((component, layer), Change(component, layer, kohya))
    setattr(change, matrix, float(tensor) if matrix == "alpha" else tensor)
    return True


def _ending(rest: str) -> tuple[str, str]:
    """A layer's name and which matrix; the latter empty where the ending is not known."""
    if found := PROCESSOR.search(rest):
        layer = found[1].replace("to_out", "to_out.0")
        return f"{rest[: found.start()]}.{layer}", found[2]
    for pattern, matrix in ENDINGS:
        if found := pattern.search(rest):
            return rest[: found.start()], matrix
    return rest, ""


def _layers(network: "Module") -> dict[bool, dict[str, Any]]:
    """Return the network's layers by name, flat (True) and dotted; a text model's also with its outer module's name."""
    import torch

    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    dotted = {name: layer for name, layer in network.named_modules() if isinstance(layer, kinds)}
    # transformers 5 has no `text_model` around a text encoder without projection; published files have.
    dotted |= {
        f"text_model.{name}": layer for name, layer in dotted.items() if not name.startswith("text_model.")
    }
    return {False: dotted, True: {name.replace(".", "_"): layer for name, layer in dotted.items()}}


def _translated(change: Change, network: "Module") -> str:
    """A layer's name as diffusers has it, where the file uses those of the original SDXL code."""
    found = SGM.fullmatch(change.layer) if change.flat else None
    if not found:
        return change.layer
    layers = network.config["layers_per_block"]
    where, number, part, rest = found[1], int(found[2]), int(found[3] or 0), RESNET.get(found[4], found[4])
    if where == "middle_block":
        return f"mid_block_{'attentions_0' if number == 1 else f'resnets_{number // 2}'}_{rest}"
    if where == "input_blocks":
        block, layer = divmod(number - 1, layers + 1)
        if layer == layers:
            return f"down_blocks_{block}_downsamplers_0_conv"
        return f"down_blocks_{block}_{('resnets', 'attentions')[min(part, 1)]}_{layer}_{rest}"
    block, layer = divmod(number, layers + 1)
    if rest == "conv":
        return f"up_blocks_{block}_upsamplers_0_conv"
    return f"up_blocks_{block}_{('resnets', 'attentions')[min(part, 1)]}_{layer}_{rest}"


def _metadata(path: Path) -> Mapping[str, Any]:
    if path.suffix != ".safetensors":
        return {}
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        text = (file.metadata() or {}).get(METADATA)
    try:
        told = json.loads(text) if text else {}
    except ValueError as error:
        raise LoraError(f"{path.name}: its {METADATA} is not JSON: {error}") from error
    return told if isinstance(told, dict) else {}


def _told_alpha(told: Mapping[str, Any], change: Change) -> float | None:
    """The alpha of PEFT's own configuration: the layer's, else the network's; None where nothing was said."""
    patterns = told.get(f"{change.component}.alpha_pattern") or {}
    alpha = patterns.get(change.layer, told.get(f"{change.component}.lora_alpha"))
    return None if alpha is None else float(alpha)
