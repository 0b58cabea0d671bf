import json

import pytest

from services.models.entry import Precision, Profile
from services.models.serving.engine import EngineError, promoted
from services.models.tensorrt.key import EngineKey
from services.models.tensorrt.store import Status, Store, new_record


def key(precision=Precision.FP16, sm=89):
    shapes = {"x": Profile(min=(1,), opt=(1,), max=(2,))}
    return EngineKey(sm, "tensorrt_rtx", "1.7", shapes, precision, "ab" * 32)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def add(store, key, component="unet", engine=b"plan"):
    record = new_record(component, key, engine, seconds=1.234, warnings=("slow",))
    store.add(record, engine)
    return record


def statuses(store):
    return {record.precision: record.status for record in store.records()}


def test_keeps_what_went_in_and_what_came_out(store):
    record = add(store, key())
    assert store.plan(record).read_bytes() == b"plan"
    assert store.find("unet", key()) == record
    assert store.find("unet", key(Precision.BF16)) is None
    assert store.find("vae", key()) is None
    told = json.loads(store.plan(record).with_suffix(".json").read_text())
    assert told["profiles"] == {"x": {"min": [1], "opt": [1], "max": [2]}}
    assert (told["seconds"], told["size_bytes"], told["status"], told["error"]) == (1.23, 4, "built", None)


def test_an_engine_whose_plan_is_gone_is_not_found(store):
    store.plan(add(store, key())).unlink()
    assert store.find("unet", key()) is None
    assert list(store.records()) == []


@pytest.mark.parametrize("text", ["", "{}", '{"status": "built", "warnings": [], "more": 1}'])
def test_a_record_of_another_version_is_as_if_it_were_not_there(store, text):
    store.plan(add(store, key())).with_suffix(".json").write_text(text)
    assert store.find("unet", key()) is None
    assert list(store.records()) == []


def test_promoting_replaces_what_ran_in_that_place_only(store):
    half, quarter, other = (
        add(store, each) for each in (key(), key(Precision.INT8), key(Precision.BF16, sm=120))
    )
    for record in (half, other, quarter):
        store.promote(record, 1e-3, 1e-2)
    assert store.promoted("unet") == {
        "sm89 tensorrt_rtx 1.7": f"{quarter.name}.plan",
        "sm120 tensorrt_rtx 1.7": f"{other.name}.plan",
    }
    assert statuses(store) == {"fp16": Status.VERIFIED, "int8": Status.PROMOTED, "bf16": Status.PROMOTED}
    store.promote(store.find("unet", key()), 1e-3, 1e-2)
    assert statuses(store) == {"fp16": Status.PROMOTED, "int8": Status.VERIFIED, "bf16": Status.PROMOTED}


def test_promoting_twice_changes_nothing(store):
    record = add(store, key())
    assert store.promote(store.promote(record, 1e-3, 1e-2), 1e-3, 1e-2).status is Status.PROMOTED
    assert statuses(store) == {"fp16": Status.PROMOTED}


def test_a_failed_engine_is_kept_with_the_reason_and_never_run(store):
    record = store.promote(add(store, key()), 1e-3, 1e-2)
    store.fail(record, "differs by 0.5", 0.5, 1e-2)
    (kept,) = store.records()
    assert (kept.status, kept.detail, kept.error, kept.tolerance) == (
        Status.FAILED,
        "differs by 0.5",
        0.5,
        1e-2,
    )
    assert store.promoted("unet") == {}
    with pytest.raises(EngineError, match="none of its engines was found to compute the same"):
        promoted(store.directory / "unet", 0)


def test_a_write_that_fails_leaves_the_pointer_as_it_was(store, monkeypatch):
    first, second = add(store, key()), add(store, key(Precision.BF16))
    store.promote(first, 1e-3, 1e-2)
    before = store.promoted("unet")
    replace = type(store.directory).replace

    def full(self, target):
        if target.name == "promoted.json":
            raise OSError("No space left on device")
        return replace(self, target)

    monkeypatch.setattr(type(store.directory), "replace", full)
    with pytest.raises(OSError, match="No space left"):
        store.promote(second, 1e-3, 1e-2)
    assert store.promoted("unet") == before
    assert not list(store.directory.glob("*/.*"))
