"""Tiny encoders of five architectures, built from a config, and small sets of texts: no test asks the network."""

import os
import random
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["GRAPHLOSS_CACHE"] = tempfile.mkdtemp(prefix="graphloss-tokens-")

import pytest
import torch
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BertConfig,
    DistilBertConfig,
    LlamaConfig,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from graphloss.cli.output import quiet_libraries

WORDS = {
    "sports": ["goal", "match", "team", "coach", "league"],
    "food": ["soup", "bread", "salt", "oven", "spice"],
    "space": ["orbit", "comet", "moon", "rocket", "star"],
}
FILLER = ["the", "a", "was", "on", "and", "very", "of", "in"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
CONFIGS = {
    "bert": lambda n: BertConfig(vocab_size=n, max_position_embeddings=64, **SIZES),
    "roberta": lambda n: RobertaConfig(
        vocab_size=n, max_position_embeddings=66, type_vocab_size=1, pad_token_id=0, **SIZES
    ),
    "distilbert": lambda n: DistilBertConfig(
        vocab_size=n, max_position_embeddings=64, dim=32, hidden_dim=64, n_layers=2, n_heads=2
    ),
    "modernbert": lambda n: ModernBertConfig(
        vocab_size=n,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        cls_token_id=2,
        sep_token_id=3,
        **SIZES,
    ),
    "llama": lambda n: LlamaConfig(vocab_size=n, max_position_embeddings=64, eos_token_id=3, bos_token_id=2, **SIZES),
}


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> None:
    quiet_libraries()
    torch.set_num_threads(1)
    threadpool_limits(1)  # of numpy and scipy, too: tests run side by side


def _tokenizer(decoder: bool) -> PreTrainedTokenizerFast:
    vocabulary = SPECIAL + FILLER + [word for words in WORDS.values() for word in words]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if decoder:
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="[SEP]", unk_token="[UNK]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    )


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with a tiny random model and its tokenizer, by architecture."""
    folders = {}
    for name, config in CONFIGS.items():
        folder = tmp_path_factory.mktemp(name)
        tokenizer = _tokenizer(decoder=name == "llama")
        torch.manual_seed(0)
        AutoModel.from_config(config(len(tokenizer))).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        folders[name] = folder
    return folders


def sentences(documents: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts of 3 to 12 words, two of them about their label."""
    draw = random.Random(seed)
    names = sorted(WORDS)
    labels = [names[index % len(names)] for index in range(documents)]
    texts = []
    for label in labels:
        words = draw.choices(FILLER, k=draw.randint(1, 10)) + draw.choices(WORDS[label], k=2)
        draw.shuffle(words)
        texts.append(" ".join(words))
    return texts, labels


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with train, validation and test files of three easy classes."""
    folder = tmp_path / "data"
    folder.mkdir()
    for split, size, seed in (("train", 60, 1), ("validation", 24, 2), ("test", 24, 3)):
        rows = ["text,label", *map(",".join, zip(*sentences(size, seed), strict=True))]
        (folder / f"{split}.csv").write_text("\n".join(rows) + "\n")
    return folder


def spread_out(source: Path, folder: Path) -> Path:
    """An encoder with random weights that does not take all documents for nearly alike."""
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.from_pretrained(source, initializer_range=0.05)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder
