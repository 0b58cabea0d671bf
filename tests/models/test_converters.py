"""The table of converters, and what decides that a model has to be built again."""

import ast
from pathlib import Path

import pytest

from services.models import fingerprint as fingerprints
from services.models.catalogue import get_model, read_catalogue
from services.models.converters import (
    CHECKPOINTS,
    CONVERTERS,
    ConverterError,
    check_libraries,
    code_of,
    conversion_of,
)
from services.models.entry import Converter, Lora, Precision
from services.models.fingerprint import fingerprint
from services.models.presence import REPOSITORY

ROOT = REPOSITORY.parent
SMALL = "nsfw_open_nsfw"


def names(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_converter_is_known() -> None:
    assert set(CONVERTERS) == set(Converter) - {Converter.CHECKPOINT}


@pytest.mark.parametrize(
    "conversion", [*CONVERTERS.values(), *CHECKPOINTS.values()], ids=lambda each: each.function
)
def test_every_converter_is_there(conversion: object) -> None:
    module, _, function = conversion.function.partition(":")  # type: ignore[attr-defined]
    assert function in names(ROOT / f"{module.replace('.', '/')}.py")


@pytest.mark.parametrize("name", sorted(read_catalogue()))
def test_every_entry_can_be_converted(name: str) -> None:
    model = get_model(name)
    code = {path.relative_to(ROOT).as_posix() for path in code_of(model)}
    assert f"{conversion_of(model).module.replace('.', '/')}.py" in code
    assert (ROOT / "model_repository" / model.template / "1" / "model.py").is_file()
    for module in model.serving:
        assert (ROOT / "services/models/serving" / f"{module}.py").is_file(), module


def test_a_family_that_nobody_knows_is_named() -> None:
    model = get_model("face_restoration_gfpgan").model_copy(update={"family": "unheard"})
    with pytest.raises(
        ConverterError, match=r"no architecture is called 'unheard'; checkpoints are known for: .*gfpgan"
    ):
        conversion_of(model)


def test_a_library_that_is_missing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "services.models.converters._version", lambda name: None if name == "diffusers" else "1"
    )
    with pytest.raises(
        ConverterError, match=r"sdxl needs diffusers to be exported: pip install 'visual-mesh\[export\]'"
    ):
        check_libraries(get_model("sdxl"))
    check_libraries(get_model(SMALL))


def test_a_converters_code_is_all_that_it_imports_and_no_more() -> None:
    code = {path.relative_to(ROOT / "services/models").as_posix() for path in code_of(get_model("sdxl"))}
    assert {"parity.py", "diffusers/convert.py", "diffusers/export.py", "diffusers/networks.py"} <= code
    assert not {"entry.py", "state.py", "service.py", "build.py", "catalogue.py", "convert_ncnn.py"} & code


def digest(model_name: str = SMALL, **changes: object) -> str:
    return fingerprint(get_model(model_name).model_copy(update=changes), Path("/nowhere"), REPOSITORY)


def test_words_about_a_model_change_no_build() -> None:
    assert digest(title="another", memory_mib=1, optional=True) == digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"precisions": (Precision.FP16,)},
        {"tolerance": 1e-2},
        {"defaults": {"steps": 3}},
        {"serving": ("tiles",)},
        {"template": "upscale_realesrgan"},
    ],
)
def test_what_decides_a_build_changes_it(changes: dict[str, object]) -> None:
    assert digest(**changes) != digest()


def test_another_low_rank_change_is_another_build(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    seen = set()
    for content, scale in ((b"one", 1.0), (b"one", 0.5), (b"other", 0.5)):
        file.write_bytes(content)
        model = get_model(SMALL).model_copy(update={"loras": (Lora(path=str(file), scale=scale),)})
        seen.add(fingerprint(model, tmp_path / str(len(seen)), REPOSITORY))
    assert len(seen) == 3


def test_another_converter_or_library_is_another_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest()
    with monkeypatch.context() as patch:
        patch.setattr(fingerprints, "versions", lambda model: ["onnxruntime=0"])
        assert digest() != before
    converter = tmp_path / "convert.py"
    converter.write_text("one")
    monkeypatch.setattr(fingerprints, "code_of", lambda model: [converter])
    first = digest()
    converter.write_text("two")
    assert digest() != first
