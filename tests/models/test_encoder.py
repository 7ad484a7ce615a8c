import importlib.util
import json
import shutil
import socket
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from graphloss.errors import InputError, Unavailable
from graphloss.models import encoder as module
from graphloss.models.classifier import build_classifier
from graphloss.models.encoder import fitting_length, load_encoder

EXPECTED = {"bert": "first", "roberta": "first", "distilbert": "first", "modernbert": "first", "llama": "last"}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_pooling_follows_the_kind_of_model(name: str, encoders: dict[str, Path]) -> None:
    encoder = load_encoder(str(encoders[name]))
    assert encoder.local
    assert encoder.pooling == EXPECTED[name]
    assert encoder.tokenizer.pad_token_id is not None


def test_minilm_comes_from_the_package_with_the_original_weights() -> None:
    encoder = load_encoder("minilm")
    assert encoder.local
    assert encoder.pooling == "mean"
    assert encoder.config.hidden_size == 384


def test_other_weights_in_the_package_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / module.MINILM_PACKAGE
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model" / "model.safetensors").write_bytes(b"not the weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with pytest.raises(InputError, match="are not those of sentence-transformers/all-MiniLM-L6-v2"):
        load_encoder("minilm")


def test_a_path_never_asks_the_network(encoders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for head in ("stock", "linear"):
        build_classifier(load_encoder(str(encoders["bert"])), ["a", "b"], head=head)


@pytest.mark.parametrize("content", [None, "file"])
def test_a_folder_without_a_model(content: str | None, tmp_path: Path) -> None:
    place = tmp_path / "model"
    place.mkdir() if content is None else place.write_text(content)
    with pytest.raises(InputError, match=r"config\.json|is a file"):
        load_encoder(str(place))


@pytest.mark.parametrize("name", EXPECTED)
def test_texts_are_cut_where_the_positions_end(encoders: dict[str, Path], name: str) -> None:
    encoder = load_encoder(str(encoders[name]))
    notes: list[str] = []
    assert fitting_length(encoder, 64, notes.append) == 64
    assert notes == []
    most = fitting_length(encoder, 1_000, notes.append)
    assert f"takes {most} tokens at most" in notes[0]
    assert most in (64, 65)  # a tiny RoBERTa of 66 positions leaves one to the padding
    model = AutoModel.from_pretrained(encoders[name]).eval()
    with torch.inference_mode():
        model(input_ids=torch.full((1, most), 7), attention_mask=torch.ones(1, most, dtype=torch.long))


def test_code_that_a_model_brings_along_is_not_run(encoders: dict[str, Path], tmp_path: Path) -> None:
    folder, trace = tmp_path / "model", tmp_path / "trace"
    shutil.copytree(encoders["bert"], folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(trace)!r}, 'w')\n")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_encoder(str(folder))
    assert not trace.exists()


def test_names_are_looked_for_in_the_folder_of_the_variable(
    encoders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unavailable, match="GRAPHLOSS_ENCODERS"):
        load_encoder("bert-base-uncased")
    (tmp_path / "bert-base-uncased").symlink_to(encoders["bert"])
    monkeypatch.setenv("GRAPHLOSS_ENCODERS", str(tmp_path))
    encoder = load_encoder("bert-base-uncased")
    assert encoder.local
    assert encoder.config.model_type == "bert"
    with pytest.raises(Unavailable) as caught:
        load_encoder("roberta-large")
    assert caught.value.what == "weights"
