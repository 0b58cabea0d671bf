import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from services.models.entry import Profile
from services.models.presence import REPOSITORY
from services.models.serving.engine import TensorType
from services.models.tensorrt.triton_config import plan_config, python_config

GPU, CPU = model_config_pb2.ModelInstanceGroup.KIND_GPU, model_config_pb2.ModelInstanceGroup.KIND_CPU


def parse(text):
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def kind(dtype, *shape):
    return TensorType(np.dtype(dtype), shape)


UNET = {
    "sample": kind(np.float32, None, 4, None, None),
    "timestep": kind(np.float32, None),
    "ids": kind(np.int64, None, 77),
}
PROFILES = {
    "sample": Profile(min=(1, 4, 64, 64), opt=(2, 4, 128, 128), max=(8, 4, 192, 192)),
    "timestep": Profile(min=(1,), opt=(2,), max=(8,)),
    "ids": Profile(min=(1, 77), opt=(2, 77), max=(8, 77)),
}


def test_a_plan_is_batched_along_the_first_axis_that_all_tensors_leave_free():
    config = parse(
        plan_config("sdxl-unet", UNET, {"output": kind(np.float16, None, 4, None, None)}, PROFILES)
    )
    assert (config.name, config.backend, config.default_model_filename) == (
        "sdxl-unet",
        "tensorrt",
        "model.plan",
    )
    assert config.max_batch_size == 8
    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [
        ("sample", model_config_pb2.TYPE_FP32, [4, -1, -1]),
        ("timestep", model_config_pb2.TYPE_FP32, [1]),
        ("ids", model_config_pb2.TYPE_INT64, [77]),
    ]
    assert config.input[1].HasField("reshape")
    assert list(config.input[1].reshape.shape) == []
    assert not config.input[0].HasField("reshape")
    assert [(each.name, each.data_type, list(each.dims)) for each in config.output] == [
        ("output", model_config_pb2.TYPE_FP16, [4, -1, -1])
    ]
    assert list(config.dynamic_batching.preferred_batch_size) == [2]
    assert [(each.kind, each.count) for each in config.instance_group] == [(GPU, 1)]
    cuda = config.optimization.cuda
    assert cuda.graphs
    (captured,) = cuda.graph_spec
    assert captured.batch_size == 2
    assert {name: list(shape.dim) for name, shape in captured.input.items()} == {
        "sample": [4, 128, 128],
        "timestep": [],
        "ids": [77],
    }


def test_a_plan_with_a_fixed_first_axis_is_not_batched():
    image = {"image": kind(np.float32, 1, 3, None, None)}
    profiles = {"image": Profile(min=(1, 3, 16, 16), opt=(1, 3, 336, 336), max=(1, 3, 512, 512))}
    config = parse(plan_config("up", image, {"image": kind(np.float32, 1, 3, None, None)}, profiles))
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [1, 3, -1, -1]
    (captured,) = config.optimization.cuda.graph_spec
    assert list(captured.input["image"].dim) == [1, 3, 336, 336]


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("*/config.pbtxt")), ids=lambda path: path.parent.name)
def test_every_served_model_can_be_put_on_a_gpu_without_other_changes(path):
    before, after = parse(path.read_text()), parse(python_config(path.read_text()))
    assert {group.kind for group in before.instance_group} <= {CPU}
    assert {group.kind for group in after.instance_group} == {GPU}
    for config in (before, after):
        config.ClearField("instance_group")
    assert before == after
