import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
gpu = pytest.importorskip("bench.gpu")


@pytest.fixture
def bench(tmp_path):
    torch.set_num_threads(1)
    network = gpu.Network("doubling", torch.nn.Identity, {"x": (2, 3)})
    module = torch.nn.Linear(3, 3)
    return gpu.Bench(network, module, {"x": np.ones((2, 3), np.float32)}, "cpu", tmp_path)


def test_times_what_runs(bench):
    row = gpu.measure(bench, "PyTorch eager", rounds=4, warm_up=1)
    assert (row.network, row.shape, row.precision, row.detail) == ("doubling", "2x3", "float32", "")
    assert 0 < row.median_ms <= row.p90_ms
    line = gpu.markdown([row]).splitlines()[-1]
    assert line.startswith(
        f"| doubling | 2x3 | PyTorch eager | float32 | {row.median_ms:.2f} | {row.p90_ms:.2f} |"
    )


def test_names_the_reason_where_nothing_can_be_timed(bench, monkeypatch):
    def refuse(bench):
        raise RuntimeError("no GPU\nhere")

    monkeypatch.setitem(gpu.RUNTIMES, "TensorRT", refuse)
    row = gpu.measure(bench, "TensorRT", rounds=4, warm_up=1)
    assert (row.median_ms, row.detail) == (None, "no GPU here")
    assert "| no GPU here | |" in gpu.markdown([row])


def test_every_network_takes_what_it_is_given_and_is_full_size_unless_tiny():
    for network in gpu.networks(tiny=True):
        given = [torch.rand(shape) for shape in network.shapes.values()]
        with torch.inference_mode():
            assert network.make().eval()(*given).isfinite().all()
    with torch.device("meta"):
        weights = {
            each.name: sum(p.numel() for p in each.make().parameters()) for each in gpu.networks(tiny=False)
        }
    assert weights["SDXL UNet"] == 2_567_463_684  # as published
    assert weights["Real-ESRGAN x4plus"] == 16_697_987
