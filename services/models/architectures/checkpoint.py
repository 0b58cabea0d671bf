"""Published checkpoints into networks: every tensor in its place, or an error that names those that are not."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from torch import nn

from services.models.operator_weights import WeightsError
from services.models.weights import read_tensors, unwrap

Network = TypeVar("Network", bound=nn.Module)

WRAPPERS = ("params_ema", "params")  # where BasicSR's training keeps weights; the averaged ones first
NAMED = 3  # how many wrong tensors an error names


def load(
    network: Network, path: Path, hub: str, wrappers: Sequence[str] = WRAPPERS, *, extra: bool = False
) -> Network:
    """Fill a network with a checkpoint's weights and return it, in evaluation mode.

    `hub` says where the right file is published, `wrappers` what its names may begin with, `extra` whether tensors of
    other networks may lie in it, which are then passed over. Raises WeightsError naming the file and the tensors that
    are missing, unknown or of another shape, and UnsafeFileError for a file that is not to be read.
    """
    given, wanted = unwrap(read_tensors(path), wrappers), network.state_dict()
    if extra:
        given = {name: tensor for name, tensor in given.items() if name in wanted}
    wrong = [f"{name} is missing" for name in wanted if name not in given]
    wrong += [f"{name} is not of this network" for name in given if name not in wanted]
    wrong += [
        f"{name} has shape {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if wrong:
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise WeightsError(
            f"{path.name}: is not the checkpoint that {hub} publishes: {'; '.join(wrong[:NAMED])}{more}"
        )
    network.load_state_dict(given)
    network.eval()
    return network
