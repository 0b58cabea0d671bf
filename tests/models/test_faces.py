"""Face detection and restoration on the real Triton, and the restorers' architectures against what is published."""

import asyncio
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from services.models import parity
from services.models.architectures import checkpoint, codeformer, gfpgan
from services.models.operator_weights import WeightsError
from services.models.presence import served_repository
from tests import face_twins
from tests.models.calls import infer

DETECTOR = "face_detection_centerface"
PUBLISHED = Path(__file__).with_name("published")
# The astronaut's eyes, nose and mouth, by eye, in her picture of 512 x 512.
EYES_NOSE_MOUTH = np.array([[204, 103], [246, 104], [224, 126], [204, 142], [242, 144]])
NEAR = 5  # pixels that landmarks may be off in that picture

Image = NDArray[np.uint8]

pytestmark = pytest.mark.timeout(300)  # the first test that wants the twins builds them


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def picture(name: str) -> Image:
    return np.asarray(getattr(data, name)(), np.uint8)


def scaled(image: Image, factor: float) -> Image:
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=how), np.uint8)


async def ready(client: InferenceServerClient, model: str) -> None:
    """Have a model loaded; loading one that is would start it afresh."""
    if not await client.is_model_ready(model):
        await client.load_model(model)


@pytest.fixture
async def detector(client: InferenceServerClient) -> InferenceServerClient:
    await ready(client, DETECTOR)
    return client


async def detect(client: InferenceServerClient, image: Image, **more: NDArray[np.float32]):
    found = await infer(client, DETECTOR, image=image, **more)
    count = len(found["scores"])
    assert found["boxes"].shape == (count, 4)
    assert found["landmarks"].shape == (count, 5, 2)
    return found


@pytest.mark.parametrize("factor", [0.125, 0.5, 1, 4])
async def test_a_real_face_is_where_it_is(detector: InferenceServerClient, factor: float) -> None:
    found = await detect(detector, scaled(picture("astronaut"), factor))
    assert len(found["scores"]) == 1
    assert found["scores"][0] > 0.8
    assert np.abs(found["landmarks"][0] - EYES_NOSE_MOUTH * factor).max() < NEAR * factor
    left, top, right, bottom = found["boxes"][0] / factor
    assert (170 < left < 190, 45 < top < 70, 260 < right < 280, 165 < bottom < 190) == (True,) * 4


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket"])
async def test_where_nobody_is_nobody_is_found(detector: InferenceServerClient, name: str) -> None:
    assert len((await detect(detector, picture(name)))["scores"]) == 0


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (7, 5), (31, 33)])
async def test_tiny_pictures_hold_nobody_and_break_nothing(
    detector: InferenceServerClient, height: int, width: int
) -> None:
    assert len((await detect(detector, np.full((height, width, 3), 128, np.uint8)))["scores"]) == 0


async def test_several_faces_each_once_the_surest_first(detector: InferenceServerClient) -> None:
    face = picture("astronaut")[:260, 90:360]
    canvas = np.full((700, 1100, 3), 120, np.uint8)
    places = [(20, 20, 1.0), (30, 400, 0.5), (50, 700, 0.25), (200, 620, 1.5), (400, 100, 0.75)]
    for top, left, factor in places:
        small = scaled(face, factor)
        canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    found = await detect(detector, canvas)
    assert (np.diff(found["scores"]) <= 0).all()
    noses = found["landmarks"][:, 2]
    expected = [
        np.array([left, top]) + factor * (EYES_NOSE_MOUTH[2] - [90, 0]) for top, left, factor in places
    ]
    distances = np.linalg.norm(noses[:, None] - np.array(expected)[None], axis=2)
    assert len(noses) == len(places)
    assert (np.sort(distances.argmin(1)) == np.arange(len(places))).all()
    assert distances.min(1).max() < 1.5 * NEAR


async def test_a_box_ends_at_the_picture(detector: InferenceServerClient) -> None:
    cropped = np.ascontiguousarray(picture("astronaut")[80:, 190:])
    found = await detect(detector, cropped)
    assert len(found["scores"]) == 1
    assert found["boxes"].min() >= 0
    assert found["landmarks"][0, 0] == pytest.approx(EYES_NOSE_MOUTH[0] - [190, 80], abs=12)


@pytest.mark.parametrize(
    ("shape", "threshold", "rule"),
    [
        ((4, 0, 3), 0.5, "image: must have 1 to"),
        ((4, 4, 3), 1.0, "threshold: must be above 0 and below 1; 1"),
    ],
)
async def test_bad_tensors_are_refused(
    detector: InferenceServerClient, shape: tuple[int, ...], threshold: float, rule: str
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        await detect(detector, np.zeros(shape, np.uint8), threshold=np.array([threshold], np.float32))
    assert rule in caught.value.message()


def published(name: str) -> dict[str, tuple[int, ...]]:
    """The tensors of a published checkpoint, by name: written down from the architecture its authors publish."""
    lines = (PUBLISHED / f"{name}.txt").read_text().split("\n")
    pairs = (line.split() for line in lines if line)
    return {key: () if shape == "scalar" else tuple(map(int, shape.split("x"))) for key, shape in pairs}


@pytest.mark.parametrize(
    ("name", "network", "tensors"),
    [("gfpgan", gfpgan.GfpGan, 285), ("codeformer", codeformer.CodeFormer, 515)],
)
def test_the_published_checkpoint_has_a_place_for_every_tensor(
    name: str, network: type, tensors: int
) -> None:
    with torch.device("meta"):  # shapes alone: no memory, no numbers
        own = network().state_dict()
    wanted = published(name)
    assert len(wanted) == tensors
    assert {key: tuple(tensor.shape) for key, tensor in own.items()} == wanted


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def test_a_checkpoint_fills_a_network_below_either_name_or_none(tmp_path: Path) -> None:
    given = gfpgan.random(7)
    for wrapped in (
        {"params_ema": given.state_dict(), "params": {}},
        {"params": given.state_dict()},
        given.state_dict(),
    ):
        filled = checkpoint.load(gfpgan.random(0), saved(wrapped, tmp_path / "w.pth"), "the hub")
        face = torch.rand(1, 3, 512, 512)
        with torch.inference_mode():
            assert torch.equal(filled(face), given(face))
            assert not torch.equal(gfpgan.random(0)(face), given(face))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("final_linear.bias"), "final_linear.bias is missing"),
        (lambda w: w.update(extra=torch.zeros(1)), "extra is not of this network"),
        (
            lambda w: w.update({"final_linear.bias": torch.zeros(3)}),
            r"final_linear.bias has shape \(3,\), not",
        ),
        (lambda w: w.clear(), r"conv_body_first.weight is missing.* and \d+ more"),
    ],
)
def test_another_networks_checkpoint_is_refused_naming_what_does_not_fit(tmp_path, change, said) -> None:
    weights = gfpgan.random(0).state_dict()
    change(weights)
    with pytest.raises(WeightsError, match=said) as caught:
        checkpoint.load(
            gfpgan.random(0),
            saved({"params_ema": weights, "n": torch.zeros(1)}, tmp_path / "w.pth"),
            "its hub",
        )
    assert "its hub" in str(caught.value)


@pytest.fixture(scope="module")
def twins() -> Path:
    return served_repository(face_twins.build(face_twins.GFPGAN, face_twins.CODEFORMER))


@pytest.mark.parametrize(
    ("twin", "components"), [(face_twins.GFPGAN, ["restore"]), (face_twins.CODEFORMER, ["decode", "encode"])]
)
def test_every_component_agrees_with_pytorch(twins: Path, twin: str, components: list[str]) -> None:
    found = parity.verify((twins / twin).resolve())
    assert [each.component for each in found] == components
    assert all(each.passed and each.reference.startswith("PyTorch") for each in found), found


def reference(twin: str, face: Image, fidelity: float) -> Image:
    """What the network makes of a face in PyTorch, with the twin's seed."""
    given = torch.from_numpy(face).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        if twin == face_twins.GFPGAN:
            made = gfpgan.random(0)(given)
            made = made + fidelity * (given - made)
        else:
            network = codeformer.random(0)
            scores, features, *seen = codeformer.Encode(network)(given)
            made = codeformer.Decode(network)(scores.argmax(-1), features, torch.tensor([fidelity]), *seen)
    return np.asarray(((made[0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255), np.uint8)


@pytest.mark.parametrize("twin", [face_twins.GFPGAN, face_twins.CODEFORMER])
async def test_what_is_served_is_what_pytorch_draws(
    client: InferenceServerClient, twins: Path, twin: str
) -> None:
    await ready(client, twin)
    # Two pictures with something in every corner: in a plain one every code is nearly as likely as every other.
    astronaut, cat = picture("astronaut")[40:190, 150:300], picture("chelsea")[50:250, 100:300]
    faces = np.stack([scaled(part, 512 / len(part)) for part in (astronaut, cat)])
    for fidelity in (0.0, 0.5):
        served = (await infer(client, twin, faces=faces, fidelity=np.array([fidelity], np.float32)))["faces"]
        assert served.shape == faces.shape
        for face, made in zip(faces, served, strict=True):
            assert np.abs(made.astype(int) - reference(twin, face, fidelity)).max() <= 1
    assert (served[0] != served[1]).any()
    again = (await infer(client, twin, faces=faces, fidelity=np.array([0.5], np.float32)))["faces"]
    assert (again == served).all()  # the generator's noise is part of the weights


async def test_full_fidelity_gives_the_face_back(client: InferenceServerClient, twins: Path) -> None:
    """GFP-GAN has no such knob of its own; CodeFormer's bends its features and promises no pixel."""
    await ready(client, face_twins.GFPGAN)
    face = scaled(picture("astronaut")[40:190, 150:300], 512 / 150)[None]
    served = await infer(client, face_twins.GFPGAN, faces=face, fidelity=np.ones(1, np.float32))
    assert np.abs(served["faces"].astype(int) - face).max() <= 1


@pytest.mark.parametrize(
    ("count", "fidelity", "rule"),
    [
        (0, 0.5, "faces: must be 1 to 16; 0 given"),
        (17, 0.5, "17 given"),
        (1, 1.5, "fidelity: must be 0 to 1; 1.5"),
    ],
)
async def test_a_restorer_refuses_what_it_cannot_do(
    client: InferenceServerClient, twins: Path, count: int, fidelity: float, rule: str
) -> None:
    await ready(client, face_twins.GFPGAN)
    with pytest.raises(InferenceServerException) as caught:
        await infer(
            client,
            face_twins.GFPGAN,
            faces=np.zeros((count, 512, 512, 3), np.uint8),
            fidelity=np.array([fidelity], np.float32),
        )
    assert rule in caught.value.message()


async def test_a_restorer_stops_between_two_faces(client: InferenceServerClient, twins: Path) -> None:
    await ready(client, face_twins.CODEFORMER)
    faces = np.zeros((16, 512, 512, 3), np.uint8)
    long = asyncio.create_task(infer(client, face_twins.CODEFORMER, faces=faces))
    await asyncio.sleep(1.0)
    long.cancel()
    began = asyncio.get_running_loop().time()
    await infer(
        client, face_twins.CODEFORMER, faces=faces[:1]
    )  # there is one instance: it waits for what runs
    assert asyncio.get_running_loop().time() - began < 6  # sixteen take more than that on two idle cores
