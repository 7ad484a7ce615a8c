import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    AlbertConfig,
    AttentionInterface,
    AttentionMaskInterface,
    AutoModel,
    BartConfig,
    MiniMaxConfig,
    MobileBertConfig,
    PreTrainedConfig,
    StableLmConfig,
    modeling_flash_attention_utils,
)
from transformers.integrations.flash_attention import flash_attention_forward
from transformers.masking_utils import flash_attention_mask
from transformers.utils import is_flash_attn_2_available

from graphloss.models.classifier import Classifier, LinearHeadClassifier, build_classifier
from graphloss.models.encoder import load_encoder
from graphloss.models.packing import PackedEncoder, restarting_positions, takes_packed_sequences
from graphloss.models.pooling import HiddenStates, encoder_of

BY_HAND, WRAPPED = "flash_attention_by_hand", "flash_attention_wrapped"
LENGTHS = (7, 11, 1, 4)
TOKENS, CELLS = sum(LENGTHS), len(LENGTHS) * max(LENGTHS)
ARCHITECTURES = ("bert", "roberta", "distilbert", "modernbert", "llama")
# On the left, padding moves the absolute positions of a padded pass, and where a head looks for the first token.
CASES = [*((name, "right") for name in ARCHITECTURES), ("llama", "left")]
SIZES = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def one_by_one(query: Tensor, key: Tensor, value: Tensor, borders: Tensor, window: int | None, **how: Any) -> Tensor:
    """Attention of (1, heads, n, d) within each document; a window of w lets a token see w - 1 to either side."""
    causal = how.pop("causal")
    documents = []
    for start, end in itertools.pairwise(borders.tolist()):
        ahead = torch.arange(end - start)[:, None] - torch.arange(end - start)
        seen = ahead.abs() < (window or end) if not causal else (ahead >= 0) & (ahead < (window or end))
        parts = (states[:, :, start:end] for states in (query, key, value))
        documents.append(scaled_dot_product_attention(*parts, attn_mask=seen, **how))
    return torch.cat(documents, dim=2)


def attention_by_hand(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, **named: Any
) -> tuple[Tensor, None]:
    assert attention_mask is None
    assert named["cu_seq_lens_q"].dtype == named["cu_seq_lens_k"].dtype == torch.int32
    window, causal = named.get("sliding_window"), module.is_causal
    result = one_by_one(query, key, value, named["cu_seq_lens_q"], window, causal=causal, scale=named["scaling"])
    return result.transpose(1, 2), None


def kernel_by_hand(query: Tensor, key: Tensor, value: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor,
                   max_seqlen_q: int, max_seqlen_k: int, dropout_p: float = 0.0, softmax_scale: float | None = None,
                   causal: bool = False, window_size: tuple[int, int] = (-1, -1)) -> Tensor:  # fmt: skip
    """As `flash_attn_varlen_func` of flash-attn: (n, heads, d) in and out."""
    assert max_seqlen_q >= cu_seqlens_q.diff().max()
    window = window_size[0] + 1 if window_size[0] >= 0 else None
    query, key, value = (states.transpose(0, 1)[None] for states in (query, key, value))
    return one_by_one(query, key, value, cu_seqlens_q, window, causal=causal, scale=softmax_scale)[0].transpose(0, 1)


@pytest.fixture(scope="module", autouse=True)
def _attention() -> None:
    AttentionInterface.register(BY_HAND, attention_by_hand)
    AttentionInterface.register(WRAPPED, flash_attention_forward)
    for name in (BY_HAND, WRAPPED):
        AttentionMaskInterface.register(name, flash_attention_mask)


Build = Callable[..., Classifier]


@pytest.fixture
def build(encoders: dict[str, Path]) -> Build:
    def build(name: str, head: str = "stock") -> Classifier:
        encoder = load_encoder(str(encoders[name]))
        encoder.config.local_attention = 4  # ModernBERT's: narrower than the documents
        torch.manual_seed(1)
        model = build_classifier(encoder, ["a", "b", "c"], head=head, pooling=encoder.pooling)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 if parameter.dim() == 1 else 8)  # the small random weights barely attend
        return model.eval()

    return build


def batch(model: Classifier, side: str = "right") -> dict[str, Tensor]:
    width = max(LENGTHS)
    generator = torch.Generator().manual_seed(2)
    ids = torch.full((len(LENGTHS), width), model.config.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        place = slice(0, length) if side == "right" else slice(width - length, width)
        ids[row, place] = torch.randint(5, 28, (length,), generator=generator)
        mask[row, place] = 1
    return {"input_ids": ids, "attention_mask": mask}


def results(model: Classifier, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Logits, the states of all tokens and the gradients of a sum over both."""
    kept = HiddenStates(model)
    model.zero_grad()
    logits = model(**inputs).logits
    states = kept.take()
    kept.remove()
    at_tokens = states[inputs["attention_mask"].bool()]
    weights = torch.linspace(-1, 1, at_tokens.numel()).view_as(at_tokens)
    (logits.cos().sum() + (weights * at_tokens).sum()).backward()
    return logits.detach(), states.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def attend(model: nn.Module, attention: str) -> None:
    """Choose the attention, unasked: `set_attn_implementation` looks on the hub for any flash attention."""
    encoder: Any = encoder_of(model)
    encoder.config._attn_implementation = attention


def pack(model: Classifier, attention: str = BY_HAND) -> PackedEncoder:
    attend(model, attention)
    assert takes_packed_sequences(model)
    return PackedEncoder(model)


def assert_same(model: Classifier, inputs: dict[str, Tensor], attention: str = BY_HAND) -> None:
    logits, states, gradients = results(model, inputs)
    pack(model, attention)
    packed_logits, packed_states, packed_gradients = results(model, inputs)
    real = inputs["attention_mask"].bool()
    close = {"atol": 1e-5, "rtol": 1e-4}
    torch.testing.assert_close(packed_logits, logits, **close)
    torch.testing.assert_close(packed_states[real], states[real], **close)
    assert packed_states.shape == states.shape
    assert not packed_states[~real].any()
    torch.testing.assert_close(packed_gradients, gradients, **close)


@pytest.mark.parametrize("head", ["stock", "linear"])
@pytest.mark.parametrize(("name", "side"), CASES)
def test_a_packed_pass_is_the_padded_one(name: str, side: str, head: str, build: Build) -> None:
    model = build(name, head)
    assert_same(model, batch(model, side))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_attention_of_transformers_gets_what_it_reads(
    name: str, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    library: Any = modeling_flash_attention_utils
    for state in ("_loaded_implementation", "_flash_fn", "_flash_varlen_fn", "_flash_with_kvcache_fn", "_pad_fn",
                  "_unpad_fn", "_process_flash_kwargs_fn", "_process_with_kvcache_kwargs_fn"):  # fmt: skip
        monkeypatch.setattr(library, state, None)
    functions = (None, kernel_by_hand, None, None, None)  # nothing that pads, or that takes no borders
    monkeypatch.setattr(library, "_lazy_imports", lambda *_, **__: functions)
    model = build(name)
    assert_same(model, batch(model), WRAPPED)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_padding_is_computed(name: str, build: Build) -> None:
    model = build(name)
    widths: list[int] = []
    linear = next(module for module in encoder_of(model).modules() if isinstance(module, nn.Linear))
    linear.register_forward_pre_hook(lambda _, given: widths.append(given[0].shape[:-1].numel()))
    model(**batch(model))
    packing = pack(model)
    model(**batch(model))
    packing.remove()
    attend(model, "sdpa")
    model(**batch(model))
    assert widths == [CELLS, TOKENS, CELLS]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_side_of_the_padding_changes_nothing(name: str, build: Build) -> None:
    model = build(name, "linear")
    pack(model)
    right, left = (results(model, batch(model, side))[0] for side in ("right", "left"))
    torch.testing.assert_close(left, right)


def test_the_positions_of_roberta_skip_the_padding_token(build: Build) -> None:
    model = build("roberta")
    inputs = batch(model)
    inputs["input_ids"][1, 3] = model.config.pad_token_id  # in the text, not behind it
    table: Any = encoder_of(model)
    expected = table.embeddings.create_position_ids_from_input_ids(inputs["input_ids"], model.config.pad_token_id)
    found = restarting_positions(encoder_of(model), inputs["input_ids"], inputs["attention_mask"])
    real = inputs["attention_mask"].bool()
    assert torch.equal(found[real], expected[real])
    assert_same(model, inputs)


def test_kinds_and_positions_of_tokens_are_packed_too(build: Build) -> None:
    model = build("bert")
    inputs = batch(model)
    inputs["token_type_ids"] = (torch.arange(CELLS) % 2).view_as(inputs["input_ids"])
    inputs["position_ids"] = torch.arange(CELLS).view_as(inputs["input_ids"])
    assert_same(model, inputs)


def test_no_keys_are_kept_for_generation(build: Build) -> None:
    model = build("llama")
    assert model(**batch(model)).past_key_values is not None
    pack(model)
    assert model(**batch(model)).past_key_values is None


def test_an_encoder_that_returns_a_tuple(build: Build) -> None:
    model = build("bert", "linear")
    model.config.return_dict = False
    assert_same(model, batch(model))


def test_a_classifier_with_adapters_of_peft(build: Build) -> None:
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(r=2, target_modules="all-linear", task_type="SEQ_CLS", init_lora_weights=False)
    model = peft.get_peft_model(build("bert"), settings).eval()
    assert_same(model, batch(model))


def test_a_pass_without_a_mask_is_left_alone(build: Build) -> None:
    model = build("bert")
    inputs = batch(model) | {"attention_mask": None}
    expected = model(**inputs).logits
    pack(model)
    model(**batch(model))
    attend(model, "sdpa")
    torch.testing.assert_close(model(**inputs).logits, expected)


@pytest.mark.parametrize(
    ("attention", "taken"),
    [
        ("sdpa", False),
        ("eager", False),
        ("flex_attention", False),
        ("flash_attention_2", True),
        ("flash_attention_3", True),
        ("kernels-community/flash-attn2", True),
        ("kernels-community/flash-of-another-kind", False),
    ],
)
def test_which_attention_takes_packed_sequences(
    attention: str, taken: bool, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = AttentionMaskInterface._global_mapping  # as transformers does when it loads a kernel from the hub
    monkeypatch.setitem(masks, "kernels-community/flash-attn2", masks["flash_attention_2"])
    monkeypatch.setitem(masks, "kernels-community/flash-of-another-kind", masks["sdpa"])
    model = build("bert")
    attend(model, attention)
    assert takes_packed_sequences(model) == taken


@pytest.mark.parametrize(
    "config",
    [
        AlbertConfig(**SIZES, embedding_size=16, intermediate_size=16),
        BartConfig(vocab_size=32, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=8),
        MiniMaxConfig(**SIZES, intermediate_size=16, num_key_value_heads=2, num_local_experts=2),
        MobileBertConfig(**SIZES, embedding_size=16, intermediate_size=16),
        StableLmConfig(**SIZES, intermediate_size=16, num_key_value_heads=2),
    ],
    ids=lambda config: config.model_type,
)
def test_which_architectures_do_not(config: PreTrainedConfig) -> None:
    model = LinearHeadClassifier(AutoModel.from_config(config), 3, "mean")
    attend(model, BY_HAND)
    assert not takes_packed_sequences(model)
    with pytest.raises(ValueError, match="takes no packed sequences"):
        PackedEncoder(model)


@pytest.mark.parametrize(("flag", "value"), [("_is_stateful", True), ("_supports_attention_backend", False)])
def test_transformers_says_no(flag: str, value: bool, build: Build) -> None:
    model = build("bert")
    attend(model, BY_HAND)
    assert takes_packed_sequences(model)
    setattr(encoder_of(model), flag, value)
    assert not takes_packed_sequences(model)


@pytest.mark.skipif(
    not (torch.cuda.is_available() and is_flash_attn_2_available()),
    reason="needs a GPU of NVIDIA's and the package flash-attn",
)
@pytest.mark.parametrize("head", ["stock", "linear"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_flash_attention_on_a_gpu(name: str, head: str, build: Build) -> None:
    model: Any = build(name, head).cuda()
    inputs = {key: value.cuda() for key, value in batch(model).items()}
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        attend(model, "flash_attention_2")
        expected = model(**inputs).logits  # padded; it packs and unpacks in each layer
        pack(model, "flash_attention_2")
        torch.testing.assert_close(model(**inputs).logits, expected, atol=2e-2, rtol=2e-2)
