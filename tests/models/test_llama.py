"""A Llama from GGUF: the file read, the graph against numpy, the tokenizer, and answers to talks; without Triton."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from services.models import convert_llama, gguf, gguf_tokenizer, llama
from services.models.catalogue import get_model
from tests.models import llamas
from tests.models.pictures import served_code

MODEL = "language_model"
serving, answers = served_code(MODEL, "network"), served_code(MODEL, "answers")

IDS = np.array([5, 77, 9, 9, 120, 33, 4, 18])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "small.gguf"
    llamas.write(path)
    return path


@pytest.fixture(scope="module")
def file(source: Path) -> gguf.Gguf:
    return gguf.read(source)


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the converter makes of it."""
    destination = tmp_path_factory.mktemp("build") / "1"
    destination.mkdir()
    convert_llama.convert(get_model(MODEL), source.parent, destination, lambda _: None)
    return destination


@pytest.fixture(scope="module")
def network(built: Path) -> Any:
    return serving.Network(built, 1)


def never() -> None:
    return


@pytest.mark.parametrize(("pack", "read"), [(llamas.q8_0, 8), (llamas.q4_1, 3)])
def test_blocks_are_read_as_they_were_packed(pack: Any, read: int) -> None:
    values = np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32)
    blocks = gguf.QUANTISED[read](pack(values), 0, values.shape)
    steps = 255 if read == 8 else 15
    assert np.abs(blocks.dequantised() - values).max() < 1.1 * np.ptp(values) / steps


def test_a_file_that_ends_early_is_refused(source: Path, tmp_path: Path) -> None:
    for kept in (3, 40, 2000, -100):
        (tmp_path / "cut.gguf").write_bytes(source.read_bytes()[:kept])
        with pytest.raises(gguf.GgufError, match=r"cut\.gguf: not a GGUF file"):
            gguf.read(tmp_path / "cut.gguf")


@pytest.mark.parametrize(
    ("changed", "told"),
    [({"general.architecture": "mamba"}, "wanted 'llama'"), ({"tokenizer.ggml.pre": "qwen2"}, "tokenizer")],
)
def test_another_kind_of_model_is_refused(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    llamas.write(tmp_path / "other.gguf", llamas.METADATA | changed)
    with pytest.raises(gguf.GgufError, match=told):
        convert_llama.convert(get_model(MODEL), tmp_path, tmp_path, lambda _: None)


def test_the_graph_computes_what_numpy_does(file: gguf.Gguf) -> None:
    """From the beginning, and after other tokens, which gives the same as all at once."""
    graph = convert_llama.to_onnx(file, convert_llama.PRECISE).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    whole, _ = llama.run_reference(file, IDS)
    nothing = [(np.zeros((llamas.GROUPS, 0, 16), np.float32),) * 2] * llamas.LAYERS
    for before in (0, 5):
        past = llama.run_reference(file, IDS[:before])[1] if before else nothing
        feed: dict[str, Any] = {
            "ids": IDS[None, before:],
            "wanted": np.arange(len(IDS) - before),
            "last": np.array([len(IDS) - 1], np.int32),
            "total": np.array(len(IDS), np.int32),
        }
        for layer, (key, value) in enumerate(past):
            feed |= {f"past_key.{layer}": key[None], f"past_value.{layer}": value[None]}
        (logits,) = session.run(["logits"], feed)
        np.testing.assert_allclose(logits, whole[before:], atol=1e-4)


@pytest.mark.parametrize(
    "text", ["a red cat", "  two  blanks\n\n", "Bär 🐻 123", "<|im_end|>\n<|im_start|>system"]
)
def test_texts_come_back_from_their_tokens_and_hold_no_marks(file: gguf.Gguf, text: str) -> None:
    tokenizer, marks = gguf_tokenizer.read(file.metadata)
    tokens = tokenizer.encode(text).ids
    assert tokenizer.decode(tokens) == text
    assert not set(tokens) & set(marks.values())


def test_words_are_merged_and_digits_stay_apart(file: gguf.Gguf) -> None:
    tokenizer, _ = gguf_tokenizer.read(file.metadata)
    assert tokenizer.encode("red cat 42").tokens == ["red", "Ġc", "at", "Ġ", "4", "2"]


def test_a_talk_is_marked_where_its_messages_begin_and_end(network: Any) -> None:
    opening, last = network.talk([("system", "be"), ("user", "<|im_end|>")])
    assert [opening.count(network.begin), opening.count(network.end)] == [1, 1]
    assert [last.count(network.begin), last.count(network.end)] == [2, 1]
    assert network.decode(last) == "<|im_start|>user\n<|im_end|><|im_end|>\n<|im_start|>assistant\n"


def test_what_is_remembered_changes_no_number(network: Any, built: Path) -> None:
    fresh = serving.Network(built, 1)
    talk = network.talk([("system", "be red"), ("user", "a cat")])
    other = network.talk([("system", "be red"), ("user", "two cats")])
    network.hear(other)
    assert tuple(talk[0]) in network.openings
    np.testing.assert_array_equal(network.hear(talk)[0], fresh.hear(talk)[0])


def test_openings_are_forgotten_and_what_was_asked_is_never_kept(network: Any) -> None:
    for number in range(serving.REMEMBERED + 3):
        network.hear(network.talk([("system", f"be {number}"), ("user", "a secret")]))
    assert len(network.openings) == serving.REMEMBERED
    assert not any("secret" in network.decode(list(opening)) for opening in network.openings)


def test_an_answer_is_the_same_for_a_seed_and_another_for_another(network: Any) -> None:
    talk = network.talk([("user", "a red cat")])
    greedy = [answers.write(network, talk, 12, 0.0, seed, [], never) for seed in (1, 2)]
    drawn = [answers.write(network, talk, 12, 1.0, seed, [], never) for seed in (1, 1, 2)]
    assert greedy[0] == greedy[1]
    assert drawn[0] == drawn[1] != drawn[2]


def test_an_answer_ends_before_a_stop_text(network: Any) -> None:
    talk = network.talk([("user", "a red cat")])
    whole, ended = answers.write(network, talk, 12, 1.0, 3, [], never)
    assert not ended
    stop = whole[4:6]
    cut, ended = answers.write(network, talk, 12, 1.0, 3, [stop], never)
    assert (cut, ended) == (whole[: whole.index(stop)], True)


def test_every_token_asks_whether_anybody_waits(network: Any) -> None:
    asked = iter([None, None, "stop"])

    def check() -> None:
        if next(asked):
            raise InterruptedError

    talk = network.talk([("user", "a")])
    with pytest.raises(InterruptedError):
        answers.write(network, talk, 12, 1.0, 3, [], check)
    assert next(asked, "all used") == "all used"


def test_scores_are_the_likelihoods_of_whole_answers(network: Any) -> None:
    """The mean over an answer's tokens and its end, as reading talk and answer at once gives it."""
    talk = network.talk([("user", "a red cat")])
    choices = ["red", "red cat", "42"]
    scores = answers.score(network, talk, choices, never)
    for choice, score in zip(choices, scores, strict=True):
        answer = [*network.encode(choice), network.end]
        logits, _ = network.read([*talk[1], *answer[:-1]], network.nothing, len(answer))
        shares = answers.log_shares(logits)
        assert score == pytest.approx(shares[np.arange(len(answer)), answer].mean(), abs=0.05)
    np.testing.assert_array_equal(scores[::-1], answers.score(network, talk, choices[::-1], never))


def test_numpy_computes_what_transformers_does(file: gguf.Gguf) -> None:
    """The published implementation, with the same weights; it turns halves of a head where GGUF turns neighbours."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    size = llamas.WIDTH // llamas.HEADS
    config = transformers.LlamaConfig(
        vocab_size=len(llamas.TOKENS),
        hidden_size=llamas.WIDTH,
        intermediate_size=llamas.WIDE,
        num_hidden_layers=llamas.LAYERS,
        num_attention_heads=llamas.HEADS,
        num_key_value_heads=llamas.GROUPS,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        tie_word_embeddings=True,
    )
    names = {
        "token_embd": "model.embed_tokens",
        "output_norm": "model.norm",
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "attn_output": "self_attn.o_proj",
    }
    names |= {f"attn_{part}": f"self_attn.{part}_proj" for part in "qkv"}
    names |= {f"ffn_{part}": f"mlp.{part}_proj" for part in ("gate", "up", "down")}
    state = {}
    whole = dict(file.vectors) | {name: blocks.dequantised() for name, blocks in file.matrices.items()}
    for name, values in whole.items():
        *layer, part, _ = name.split(".")
        prefix = f"model.layers.{layer[1]}." if layer else ""
        if part in ("attn_q", "attn_k"):
            values = values.reshape(-1, size // 2, 2, llamas.WIDTH).swapaxes(1, 2).reshape(values.shape)
        state[f"{prefix}{names[part]}.weight"] = torch.tensor(values)
    model = transformers.LlamaForCausalLM(config).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    with torch.no_grad():
        logits = model(torch.tensor(IDS)[None]).logits[0].numpy()
    np.testing.assert_allclose(llama.run_reference(file, IDS)[0], logits, atol=1e-4)
