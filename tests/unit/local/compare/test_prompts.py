import pytest

from scrollintel.visual import PromptError
from services.local.compare import prompts


def test_the_classic_suite_has_its_four_prompts():
    found = prompts.of_suite("classic")
    assert [prompt.name for prompt in found] == ["portrait", "cityscape", "abstract", "diagram"]
    assert "sunset" in found[1].text
    assert all(prompt.text.strip() == prompt.text for prompt in found)


def test_an_unknown_suite_is_told_with_those_there_are():
    with pytest.raises(PromptError, match="classic"):
        prompts.of_suite("romantic")


def test_a_file_holds_one_prompt_a_line(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("# ours\n\n a cat \nein Fuchs im Schnee, ölgemälde\na cat\n", "utf-8")
    found = prompts.of_file(file)
    assert [prompt.text for prompt in found] == ["a cat", "ein Fuchs im Schnee, ölgemälde", "a cat"]
    assert len({prompt.name for prompt in found}) == 3


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\xfe", b"a cat\n" * 201])
def test_a_file_without_prompts_is_refused(tmp_path, content):
    file = tmp_path / "prompts.txt"
    file.write_bytes(content)
    with pytest.raises(PromptError) as raised:
        prompts.of_file(file)
    assert raised.value.field == "prompts"


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(PromptError, match="cannot be read"):
            prompts.of_file(path)
