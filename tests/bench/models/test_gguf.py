"""A GGUF file of known weights is converted to a model that answers the same; damaged ones are refused in words."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from greeninfer.bench.models import _gguf as gguf
from greeninfer.errors import StudyError

HEADS, WIDTH = 4, 32
WORDS = ["<|end|>", "<|start|>", "a", "b", "c", "ab", "abc", "Ġa", "Ġ"]


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="transformers is installed")
def test_without_transformers_it_says_what_to_install(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF and more")
    with pytest.raises(ImportError, match=r"transformers is not installed .*pip install 'greeninfer\[llm\]'"):
        gguf.converted(file, tmp_path / "cache")


def shuffled(rows: Any) -> Any:
    """Return query weights as llama.cpp stores them: halves of each head interleaved (its convert_hf_to_gguf.py)."""
    per_head = rows.shape[0] // HEADS
    return rows.reshape(HEADS, 2, per_head // 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


@pytest.fixture(scope="module")
def original() -> Any:
    """Return a Llama of two layers with random weights."""
    torch = pytest.importorskip("torch", reason="GGUF files are read with torch")
    transformers = pytest.importorskip("transformers", reason="GGUF files are read with transformers")
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS), hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=HEADS, num_key_value_heads=HEADS, max_position_embeddings=64, rms_norm_eps=1e-5,
        rope_theta=10000.0, initializer_range=0.4, bos_token_id=1, eos_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def file(original: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same model as a GGUF file, written key by key."""
    pytest.importorskip("accelerate", reason="transformers needs accelerate for GGUF files")
    made = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    written = pytest.importorskip("gguf", reason="GGUF files need gguf").GGUFWriter(made, "llama")
    written.add_block_count(2)
    written.add_context_length(64)
    written.add_embedding_length(WIDTH)
    written.add_feed_forward_length(64)
    written.add_head_count(HEADS)
    written.add_head_count_kv(HEADS)
    written.add_layer_norm_rms_eps(1e-5)
    written.add_rope_dimension_count(WIDTH // HEADS)
    written.add_rope_freq_base(10000.0)
    written.add_vocab_size(len(WORDS))
    written.add_tokenizer_model("gpt2")
    written.add_tokenizer_pre("default")
    written.add_token_list(WORDS)
    written.add_token_types([3, 3, *[1] * (len(WORDS) - 2)])
    written.add_token_merges(["a b", "ab c", "Ġ a"])
    written.add_bos_token_id(1)
    written.add_eos_token_id(0)
    names = {
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "model.layers": "blk",
    }  # fmt: skip
    for name, tensor in original.state_dict().items():
        values = tensor.numpy()
        if "q_proj" in name or "k_proj" in name:
            values = shuffled(values)
        for long, short in names.items():
            name = name.replace(long, short)
        written.add_tensor(name, values.copy())
    written.write_header_to_file()
    written.write_kv_data_to_file()
    written.write_tensors_to_file()
    written.close()
    return made


@pytest.mark.heavy
def test_what_is_converted_answers_as_the_original(original: Any, file: Path, tmp_path: Path) -> None:
    import torch
    import transformers

    made = gguf.converted(file, tmp_path)
    assert sorted(path.name for path in made.glob("*.safetensors")) == ["model.safetensors"]
    assert os.listdir(tmp_path) == [made.name]
    model = transformers.AutoModelForCausalLM.from_pretrained(made, use_safetensors=True).eval()
    ids = torch.tensor([[1, 6, 7, 3, 4, 8, 2, 5]])
    with torch.no_grad():
        wanted, found = original(ids).logits, model(ids).logits
    assert model.dtype == torch.float32
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert float(wanted.std()) > 0.1
    assert transformers.AutoTokenizer.from_pretrained(made).encode("abc a", add_special_tokens=False) == [6, 7]
    assert gguf.converted(file, tmp_path) == made


@pytest.mark.heavy
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 0.99])
def test_a_file_that_ends_too_early_is_refused(file: Path, tmp_path: Path, share: float) -> None:
    whole = file.read_bytes()
    part = tmp_path / "part.gguf"
    part.write_bytes(whole[: max(4, int(len(whole) * share))])
    with pytest.raises(StudyError, match=r"part.gguf cannot be converted"):
        gguf.converted(part, tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == []


@pytest.mark.heavy
def test_an_interrupted_conversion_leaves_nothing(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gguf._convert

    def interrupted(source: Path, folder: Path) -> None:
        whole(source, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(gguf, "_convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        gguf.converted(file, tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.heavy
def test_progress_bars_are_off_only_meanwhile() -> None:
    told: Any = pytest.importorskip("transformers", reason="they are those of transformers").utils.logging
    transformers: Any = pytest.importorskip("transformers")
    before = told.is_progress_bar_enabled()
    try:
        for shown in (True, False):
            (told.enable_progress_bar if shown else told.disable_progress_bar)()
            with pytest.raises(KeyError), gguf.quiet(transformers):
                assert not told.is_progress_bar_enabled()
                raise KeyError
            assert told.is_progress_bar_enabled() is shown
    finally:
        (told.enable_progress_bar if before else told.disable_progress_bar)()
