"""Restorers from checkpoints that operators bring: read by their published names, built, served, equal to PyTorch."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import torch
from tritonclient.grpc.aio import InferenceServerClient

from services.local.triton import Triton, TritonSettings
from services.models.architectures import checkpoint, realesrgan, rife
from services.models.build import Site, build_one, build_repository
from services.models.catalogue import get_model
from services.models.convert_rife import NARROW, WRAPPERS
from services.models.operator_weights import WeightsError
from services.models.order import Order
from services.models.presence import served_repository
from services.models.weights import read_tensors
from tests.models.calls import infer
from tests.models.pictures import Image, sized
from tests.triton_fixture import BUILD_HOME

UPSCALE, RIFE = "upscale_realesrgan_custom", "interpolation_rife-test"
HOME = BUILD_HOME / "restoration"
pytestmark = pytest.mark.timeout(600)  # the first session exports what is served


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def drawn(network: torch.nn.Module) -> torch.nn.Module:
    """The network with weights of about the size that trained ones have, always the same."""
    generator = torch.Generator().manual_seed(0)
    for tensor in network.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.05)
    return network.eval()


def twofold() -> realesrgan.RrdbNet:
    """An RRDBNet for x2, as RealESRGAN_x2plus is, of two narrow blocks."""
    network = drawn(realesrgan.RrdbNet(scale=2, blocks=2, features=16, growth=8))
    assert isinstance(network, realesrgan.RrdbNet)
    return network


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InferenceServerClient]:
    """Both, built as an operator builds them, on a Triton of their own."""
    HOME.mkdir(parents=True, exist_ok=True)
    weights = HOME / "RealESRGAN_x2.pth"
    if not weights.is_file():
        torch.save({"params_ema": twofold().state_dict()}, weights)
    order = Order(weights=weights)
    outcomes = [await asyncio.to_thread(build_one, UPSCALE, order, Site(HOME))]
    outcomes += await asyncio.to_thread(build_repository, HOME, [RIFE])
    assert all(outcome.served for outcome in outcomes), outcomes
    settings = TritonSettings(tmp_path_factory.mktemp("restorers"), served_repository(HOME), (UPSCALE, RIFE))
    async with Triton(settings) as triton:
        await triton.wait_ready(60)
        client = InferenceServerClient(triton.grpc_address)
        yield client
        await client.close()


def as_tensor(image: Image) -> torch.Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32) / 255)


def as_image(tensor: torch.Tensor) -> Image:
    pixels = tensor[0].permute(1, 2, 0).numpy() * 255
    return np.asarray(pixels.round().clip(0, 255), np.uint8)


async def test_a_brought_upscaler_enlarges_as_it_does_in_pytorch(server: InferenceServerClient) -> None:
    """Its scale is its own, 2, and a side may be odd though the network wants even ones."""
    image = sized(31, 40)
    served = (await infer(server, UPSCALE, image=image))["image"]
    padded = np.pad(image, ((8, 9), (8, 8), (0, 0)), "reflect")
    with torch.inference_mode():
        expected = as_image(twofold()(as_tensor(padded)))[16:78, 16:96]
    assert served.shape == (62, 80, 3)
    assert np.abs(served.astype(int) - expected).max() <= 1


async def test_rife_gives_what_its_network_gives_in_pytorch(server: InferenceServerClient) -> None:
    first, second = sized(64, 96), np.ascontiguousarray(sized(64, 96)[:, ::-1])
    times = np.array([0.25, 0.6], np.float32)
    frames = (await infer(server, RIFE, first=first, second=second, times=times))["frames"]
    torch.manual_seed(0)
    network = rife.IfNet(NARROW).eval()
    for time, frame in zip(times, frames, strict=True):
        with torch.inference_mode():
            expected = as_image(network(as_tensor(first), as_tensor(second), torch.tensor([time])))
        assert np.abs(frame.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 300), (97, 65)])
async def test_any_size(server: InferenceServerClient, height: int, width: int) -> None:
    image = sized(height, width)
    assert (await infer(server, UPSCALE, image=image))["image"].shape == (2 * height, 2 * width, 3)
    times = np.array([0.5], np.float32)
    frames = (await infer(server, RIFE, first=image, second=image, times=times))["frames"]
    assert frames.shape == (1, height, width, 3)
    assert np.abs(frames[0].astype(int) - image).mean() < 40  # warped by random flow, but this picture


def test_a_warp_by_whole_pixels_moves_by_them() -> None:
    image = torch.rand(1, 3, 8, 9)
    flow = torch.zeros(1, 2, 8, 9)
    flow[:, 0], flow[:, 1] = 2, -1
    torch.testing.assert_close(rife.warp(image, flow)[:, :, 1:, :-2], image[:, :, :-1, 2:], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "network",
    [
        realesrgan.RrdbNet(4, 3, 16, 8),
        realesrgan.RrdbNet(1, 2, 8, 4),
        realesrgan.SrvggNetCompact(4, 5, 12),
        realesrgan.SrvggNetCompact(3, 2, 8),
    ],
)
def test_depth_width_and_scale_are_read_from_the_tensors(network: realesrgan.Network, tmp_path: Path) -> None:
    torch.save({"params": network.state_dict()}, tmp_path / "it.pth")
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = realesrgan.of_shapes(shapes)
    assert type(found) is type(network)
    filled = checkpoint.load(found, tmp_path / "it.pth", "hub")
    image = torch.rand(1, 3, 8, 12)
    with torch.inference_mode():
        torch.testing.assert_close(filled(image), network.eval()(image))
        assert filled(image).shape == (1, 3, 8 * network.scale, 12 * network.scale)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"params": {"encoder.weight": torch.zeros(99)}}, tmp_path / "it.pth")
    outcome = build_one(UPSCALE, Order(weights=tmp_path / "it.pth"), Site(tmp_path))
    assert "it.pth: is neither an RRDBNet nor an SRVGGNetCompact" in outcome.detail
    assert not (served_repository(tmp_path) / UPSCALE).exists()


def test_a_published_rife_is_taken_and_an_older_one_refused(tmp_path: Path) -> None:
    """Published names: `module.` before each, and some tensors that only training used."""
    names = {f"module.{name}": value for name, value in rife.IfNet().state_dict().items()}
    assert names["module.block0.conv0.0.0.weight"].shape == (96, 7, 3, 3)
    assert names["module.block3.convblock.7.beta"].shape == (1, 64, 1, 1)
    assert names["module.block1.lastconv.0.weight"].shape == (128, 24, 4, 4)
    torch.save(names | {"module.block_tea.conv0.0.0.weight": torch.zeros(3)}, tmp_path / "flownet.pkl")
    assert "module.block_tea.conv0.0.0.weight" in read_tensors(tmp_path / "flownet.pkl")
    hub = get_model("interpolation_rife").source.hub  # type: ignore[union-attr]
    checkpoint.load(rife.IfNet(), tmp_path / "flownet.pkl", hub, WRAPPERS, extra=True)
    older = {name: value for name, value in names.items() if not name.endswith("beta")}
    torch.save(older, tmp_path / "flownet.pkl")
    with pytest.raises(WeightsError, match=re.escape("block0.convblock.0.beta is missing")):
        checkpoint.load(rife.IfNet(), tmp_path / "flownet.pkl", hub, WRAPPERS, extra=True)
