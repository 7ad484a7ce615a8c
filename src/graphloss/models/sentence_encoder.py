"""The files by which sentence-transformers loads a saved model with the pooling it was trained with."""

import json
from pathlib import Path

POOLING_NAMES = {"first": "cls", "mean": "mean", "last": "lasttoken"}


def write_modules(folder: Path, *, pooling: str, dimension: int, max_length: int) -> None:
    """Write modules.json and what it names.

    Args:
        folder: of the model.
        pooling: "first", "mean" or "last".
        dimension: of the embeddings.
        max_length: in tokens, at which texts are cut.
    """
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    used = POOLING_NAMES[pooling]
    modes = {
        "pooling_mode_cls_token": used == "cls",
        "pooling_mode_mean_tokens": used == "mean",
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "pooling_mode_lasttoken": used == "lasttoken",
    }
    (folder / "1_Pooling").mkdir(exist_ok=True)
    _write(folder / "modules.json", modules)
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": dimension} | modes)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})


def read_max_length(folder: Path) -> int:
    """The number of tokens at which a saved model cuts its texts."""
    return json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
