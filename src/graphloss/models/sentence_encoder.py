"""The files by which sentence-transformers loads a model with the pooling it was trained with."""

import json
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

# By the names of sentence-transformers from version 6 on, and of the switches that every version reads.
POOLING_MODES = {"cls": "first", "mean": "mean", "lasttoken": "last"}
POOLING_SWITCHES = {
    "pooling_mode_cls_token": "first",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_max_tokens": None,
    "pooling_mode_mean_sqrt_len_tokens": None,
}


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
    switches = {switch: meaning == pooling for switch, meaning in POOLING_SWITCHES.items()}
    (folder / "1_Pooling").mkdir(exist_ok=True)
    _write(folder / "modules.json", modules)
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": dimension} | switches)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})


def read_pooling(location: str, *, local: bool) -> str | None:
    """The pooling that a model states: "first", "mean" or "last"; None where it states none, or another.

    Args:
        location: a folder or a name on the hub.
        local: whether it is a folder; then the network is not asked.
    """
    stated = _read(location, local, "1_Pooling/config.json")
    mode = stated.get("pooling_mode")
    if isinstance(mode, str):
        return POOLING_MODES.get(mode)
    return next((meaning for switch, meaning in POOLING_SWITCHES.items() if stated.get(switch)), None)


def read_max_length(folder: Path) -> int:
    """The number of tokens at which a saved model cuts its texts."""
    return json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]


def _read(location: str, local: bool, name: str) -> dict[str, Any]:
    path = Path(location) / name if local else cached_file(location, name, _raise_exceptions_for_missing_entries=False)
    return json.loads(Path(path).read_text()) if path is not None and Path(path).exists() else {}


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
