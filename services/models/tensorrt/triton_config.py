"""How Triton serves engines: by its own `tensorrt` backend, or by the Python backend on a GPU."""

from collections.abc import Mapping

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import np_to_triton_dtype

from services.models.entry import Profile
from services.models.serving.engine import TensorType

PLAN = "model.plan"
# Long enough for callers that come together to meet, short beside any pass through a network.
QUEUE_DELAY_US = 1000

Tensors = Mapping[str, TensorType]


def plan_config(name: str, inputs: Tensors, outputs: Tensors, profiles: Mapping[str, Profile]) -> str:
    """Return the config.pbtxt of a model `<name>/1/model.plan` for Triton's `tensorrt` backend.

    Where every tensor's first axis is free it is the batch, which Triton fills from several callers up to the
    profile's most; else requests carry all axes. Launches are captured at the shape the engine was tuned for.
    """
    batched = all(kind.shape and kind.shape[0] is None for kind in (*inputs.values(), *outputs.values()))
    config = model_config_pb2.ModelConfig(name=name, backend="tensorrt", default_model_filename=PLAN)
    for tensors, declared in ((inputs, config.input), (outputs, config.output)):
        for tensor, kind in tensors.items():
            added = declared.add(name=tensor, data_type=_data_type(kind))
            dims = kind.shape[1:] if batched else kind.shape
            if dims:
                added.dims.extend(-1 if axis is None else axis for axis in dims)
            else:  # Triton has no scalars: one number for each row
                added.dims.append(1)
                added.reshape.SetInParent()
    usual = {
        tensor: list(profiles[tensor].opt) if tensor in profiles else list(kind.shape)
        for tensor, kind in inputs.items()
    }
    captured = config.optimization.cuda.graph_spec.add()
    config.optimization.cuda.graphs = True
    if batched:
        config.max_batch_size = min(profiles[tensor].max[0] for tensor in inputs)
        captured.batch_size = min(profiles[tensor].opt[0] for tensor in inputs)
        config.dynamic_batching.preferred_batch_size.append(captured.batch_size)
        config.dynamic_batching.max_queue_delay_microseconds = QUEUE_DELAY_US
    for tensor, shape in usual.items():
        captured.input[tensor].dim.extend(axis or 1 for axis in (shape[1:] if batched else shape))
    config.instance_group.add(kind=model_config_pb2.ModelInstanceGroup.KIND_GPU, count=1)
    return _text(config)


def python_config(config: str) -> str:
    """Return a Python backend's config.pbtxt with its instances on the GPU instead of the CPU.

    The model itself runs the engines, and captures their launches (`services/models/serving/engine.py`).
    """
    parsed = text_format.Parse(config, model_config_pb2.ModelConfig())
    groups = parsed.instance_group or [parsed.instance_group.add(count=1)]
    for group in groups:
        group.kind = model_config_pb2.ModelInstanceGroup.KIND_GPU
    return _text(parsed)


def _data_type(kind: TensorType) -> int:
    return int(model_config_pb2.DataType.Value(f"TYPE_{np_to_triton_dtype(kind.dtype)}"))


def _text(config: model_config_pb2.ModelConfig) -> str:
    return str(text_format.MessageToString(config))
