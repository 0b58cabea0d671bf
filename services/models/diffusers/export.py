"""One network from PyTorch to ONNX, checked: the core that every pipeline's export goes through.

A network is described by a `Component`: a torch module that takes and gives plain tensors, the names of both, and two
or more sets of example inputs. `export` traces the module on the first example, writes `<name>.onnx`, lets go of the
module, and holds the graph against the module's own outputs on every example. To add a network, such as a video
denoiser, write a wrapper module and a function that makes its `Component`:

    def denoiser(directory: Path) -> Component:
        network = SomeTransformer.from_pretrained(directory / "transformer")
        examples = [{"sample": randn(2, 16, 3, 8, 12), "timestep": ...}, {"sample": randn(1, 16, 5, 16, 8), ...}]
        return Component("transformer", Wrapper(network), ("sample", "timestep"), ("velocity",), examples)

    export(partial(denoiser, directory), destination, precision=..., tolerance=..., report=report)

An axis whose length differs between examples is free in the graph; one that is the same in all of them is fixed.
"""

import gc
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from services.models.entry import Precision
from services.models.parity import record

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

OPSET = 20
INLINE_BYTES = 1 << 30  # an ONNX file ends at 2 GiB; larger weights go beside it, into `<name>.onnx.data`
EXACT = frozenset({"timestep", "time_ids"})  # inputs kept in FP32: FP16 holds whole numbers up to 2048 alone
ALONE = (
    RLock()
)  # torch traces, draws random numbers and warns for the whole process, and models are built in threads
NOISY = ("torch.onnx", "torch.export", "onnxscript", "diffusers", "transformers", "huggingface_hub")


class ExportError(Exception):
    """A network cannot be exported as asked; the text says which and why."""


@dataclass(frozen=True)
class Component:
    """A network as plain tensors: `module(*inputs)` gives one tensor for each of `outputs`, a tuple if several.

    `examples` hold one tensor per input, FP32 or INT64; at least two sets, whose lengths differ along the free axes.
    Lengths of 0 and 1 mean something of their own to the tracer: the first example should have none along them.
    """

    name: str
    module: "Module"
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    examples: Sequence[Mapping[str, "Tensor"]]


def export(
    make: Callable[[], Component],
    destination: Path,
    *,
    precision: Precision,
    tolerance: Callable[[str], float],
    report: Callable[[str], None],
) -> None:
    """Write `destination/<name>.onnx` (and `.onnx.data`), checked on every example; the last one is kept for later.

    `make` is a function so that the weights are held by nobody else and can go before ONNX Runtime loads its own.
    In FP16 the graph still takes and gives FP32, and is compared with the module in FP32.
    Raises ParityError when the graph differs by more than `tolerance(name)`, ExportError for another precision.
    """
    import torch

    if precision not in (Precision.FP32, Precision.FP16):
        raise ExportError(
            f"precision: must be fp32 or fp16; {precision} given. The others are made by an engine's builder"
        )
    with ALONE, quiet():
        component = make()
        name, examples, outputs = component.name, component.examples, component.outputs
        report(f"exporting {name}")
        component.module.float().eval().requires_grad_(False)
        expected = [_run(component, example) for example in examples]
        _write(component, destination / f"{name}.onnx", precision)
        del component
        gc.collect()
    report(f"checking {name}")
    for example, reference in zip(examples, expected, strict=True):
        record(
            destination,
            name,
            {key: value.numpy() for key, value in example.items()},
            dict(zip(outputs, reference, strict=True)),
            tolerance=tolerance(name),
            reference=f"PyTorch {torch.__version__}",
        )


def free_axes(examples: Sequence[Mapping[str, "Tensor"]]) -> dict[str, tuple[int, ...]]:
    """Return the axes of each input whose length is not the same in all examples."""
    return {
        name: tuple(
            axis
            for axis in range(tensor.dim())
            if len({example[name].shape[axis] for example in examples}) > 1
        )
        for name, tensor in examples[0].items()
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' progress bars, advice and warnings out of the build's own report."""
    import diffusers
    import transformers

    levels = {name: logging.getLogger(name).level for name in NOISY}
    bars = (
        diffusers.utils.logging.is_progress_bar_enabled(),
        transformers.utils.logging.is_progress_bar_enabled(),
    )
    kits = (diffusers.utils.logging, transformers.utils.logging)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for name in NOISY:
                logging.getLogger(name).setLevel(logging.ERROR)
            for kit in kits:
                kit.disable_progress_bar()
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            for kit, shown in zip(kits, bars, strict=True):
                if shown:
                    kit.enable_progress_bar()


def _run(component: Component, example: Mapping[str, "Tensor"]) -> list[Any]:
    import torch

    with torch.inference_mode():
        given = component.module(*(example[name] for name in component.inputs))
    return [tensor.numpy() for tensor in (given if isinstance(given, tuple) else (given,))]


def _write(component: Component, path: Path, precision: Precision) -> None:
    import torch

    axes = free_axes(component.examples)
    module = component.module if precision is Precision.FP32 else _half(component)
    free = tuple(dict.fromkeys(axes[name], torch.export.Dim.AUTO) for name in component.inputs)
    kinds = {parameter.kind for parameter in signature(module.forward).parameters.values()}
    size = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
    with torch.no_grad():
        traced = torch.export.export(
            module,
            tuple(component.examples[0][name] for name in component.inputs),
            dynamic_shapes=(free,) if Parameter.VAR_POSITIONAL in kinds else free,  # of *tensors: one of all
            strict=False,
        )
        program = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(component.inputs),
            output_names=list(component.outputs),
            optimize=True,  # what is left else, such as CastLike and sequences, not every runtime takes
            verbose=False,
        )
    program.save(str(path), external_data=size > INLINE_BYTES)


def _half(component: Component) -> "Module":
    """The module in FP16 behind inputs and outputs in FP32."""
    import torch

    names, network = component.inputs, component.module.half()

    class Half(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *tensors: "Tensor") -> Any:
            narrow = (
                tensor.half() if tensor.is_floating_point() and name not in EXACT else tensor
                for name, tensor in zip(names, tensors, strict=True)
            )
            given = self.network(*narrow)
            return tuple(tensor.float() for tensor in given) if isinstance(given, tuple) else given.float()

    return Half()
