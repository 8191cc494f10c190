"""The law on Hugging Face models, built small and at random; nothing is downloaded."""

import json

import pytest
import torch

from synth.probes.law import LawOptions, measure_law
from synth.probes.layer_states import fresh_norm

transformers = pytest.importorskip("transformers")

from synth.probes.language_models import (  # noqa: E402
    LanguageModelStates,
    load_language_model,
    read_corpus,
    sample_texts,
)

VOCABULARY = 60
SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "intermediate_size": 24}
CONFIGS = {
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=64, n_embd=16, n_layer=2, n_head=2,
        bos_token_id=0, eos_token_id=0),
    "gpt1": lambda: transformers.OpenAIGPTConfig(
        vocab_size=VOCABULARY, n_positions=64, n_embd=16, n_layer=2, n_head=2),
    "llama": lambda: transformers.LlamaConfig(
        **SHAPE, **HEADS, num_key_value_heads=2),
    "neox": lambda: transformers.GPTNeoXConfig(**SHAPE, **HEADS),
    "opt": lambda: transformers.OPTConfig(
        **SHAPE, ffn_dim=24, num_attention_heads=2, word_embed_proj_dim=16),
    "gemma2": lambda: transformers.Gemma2Config(
        **SHAPE, **HEADS, num_key_value_heads=2, head_dim=8),
    "mamba": lambda: transformers.MambaConfig(**SHAPE, state_size=4),
    "rwkv": lambda: transformers.RwkvConfig(
        **SHAPE, attention_hidden_size=16, intermediate_size=24),
}  # fmt: skip


@pytest.fixture(params=CONFIGS)
def model(request):
    torch.manual_seed(0)
    built = transformers.AutoModelForCausalLM.from_config(CONFIGS[request.param]())
    return built.eval().requires_grad_(False)


@pytest.fixture
def ids():
    draw = torch.Generator().manual_seed(1)
    lengths = [9, 14, 14, 5, 20] * 8
    return [torch.randint(VOCABULARY, (n,), generator=draw).tolist() for n in lengths]


def test_states_are_the_models_own(model, ids):
    source = LanguageModelStates(model, ids)
    path = source.paths["stack"]
    assert len(path) == 3
    seen = 0
    for batch in source.batches():
        for row, text in enumerate(batch.tokens_BT):
            length = int((batch.example_BT[row] > 0).sum())
            output = model(
                input_ids=text[None, :length],
                output_hidden_states=True,
                use_cache=False,
            )
            last = batch.states[path[-1]][row, :length]
            assert torch.allclose(last, output.hidden_states[-1][0], atol=1e-4)
            middle = output.hidden_states[1][0]
            fresh = fresh_norm(middle, *source.norm_kind)
            assert torch.allclose(batch.states[path[1]][row, :length], fresh, atol=1e-4)
            lens = batch.logits(path[-1])[row, :length]
            assert torch.allclose(lens, output.logits[0], atol=1e-4)
            seen += 1
        break
    assert seen > 1


def test_law_runs_and_drops_the_last_position_of_each_text(model, ids):
    report = measure_law(LanguageModelStates(model, ids), LawOptions(classes=20))
    assert report.layers["embedding"].count == sum(len(text) - 1 for text in ids)
    assert report.fits["stack"]["residual"]["t+1"].layers == 2


def test_texts_are_truncated(model, ids):
    source = LanguageModelStates(model, ids, context=6)
    assert max(map(len, source.ids)) == 6


def test_loading_by_path_with_its_tokeniser(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: index for index, word in enumerate(["<unk>", "a", "b", "c"])}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, unk_token="<unk>"
    ).save_pretrained(tmp_path)
    built = transformers.AutoModelForCausalLM.from_config(CONFIGS["llama"]())
    built.save_pretrained(tmp_path)
    model, tokenizer = load_language_model(str(tmp_path))
    assert tokenizer("a b c")["input_ids"] == [1, 2, 3]
    assert next(model.parameters()).dtype == torch.float32
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_language_model(str(tmp_path / "nothing"))


def test_corpora(tmp_path):
    plain = tmp_path / "a.txt"
    plain.write_text("one\ntwo\n\n\nthree\n")
    assert read_corpus(plain) == ["one\ntwo", "three"]
    lines = tmp_path / "a.jsonl"
    lines.write_text(json.dumps({"text": "x"}) + "\n" + "{}\n")
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: expected a field"):
        read_corpus(lines)
    with pytest.raises(ValueError, match="is not a file"):
        read_corpus(tmp_path / "b.txt")
    rows = ["one\u2028two", None, "", "three\n\nfour"]
    lines.write_text(
        "".join(json.dumps({"text": row}, ensure_ascii=False) + "\n" for row in rows)
    )
    assert read_corpus(lines) == ["one\u2028two", "three\n\nfour"]
    plain.write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"a\.txt is not UTF-8"):
        read_corpus(plain)
    texts = [str(i) for i in range(9)]
    assert sample_texts(texts, 4, 666) == sample_texts(texts, 9, 666)[:4]
    assert sorted(sample_texts(texts, 99, 1)) == texts
