"""The index of a run on disk."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow
import pyarrow.parquet
import torch
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_matrix

from graphloss.data.documents import Documents
from graphloss.data.words import WordVectors
from graphloss.errors import InputError
from graphloss.inference.index import NEAREST_FILE, Index

FORMAT = 1


def save_index(index: Index, folder: Path, encoder: str, beside: dict[str, Any] | None = None) -> None:
    """Write the index so that the folder appears whole.

    Args:
        index: to be written.
        folder: to be replaced where it is there.
        encoder: fingerprint of the model that made the embeddings.
        beside: what else goes into the folder: by the name of a file, what it holds as JSON.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tensors = {
        "embeddings": index.embeddings,
        "labels": index.labels,
        "targets": index.targets,
        "word_weights": torch.from_numpy(np.ascontiguousarray(index.vectors.weights)),
        "data": torch.from_numpy(index.words.data),
        "indices": torch.from_numpy(index.words.indices.astype(np.int32)),
        "indptr": torch.from_numpy(index.words.indptr.astype(np.int64)),
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial / "vectors.safetensors")
    columns = {"text": index.documents.texts}
    if index.documents.text_pairs is not None:
        columns["text_pair"] = index.documents.text_pairs
    pyarrow.parquet.write_table(pyarrow.table(columns), partial / "documents.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"term": index.vectors.terms}), partial / "terms.parquet")
    if not index.exact:
        import faiss

        faiss.write_index(index.nearest, str(partial / NEAREST_FILE))
    for name, content in (beside or {}).items():
        (partial / name).write_text(json.dumps(content, indent=2) + "\n")
    size = sum(path.stat().st_size for path in partial.iterdir())
    header = {"format": FORMAT, "encoder": encoder, "documents": len(index), "names": index.names, "bytes": size}
    (partial / "index.json").write_text(json.dumps(header, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def load_index(folder: Path, encoder: str) -> Index:
    """Read what `save_index` wrote.

    Args:
        folder: of the index.
        encoder: fingerprint of the model that will embed new documents.

    Raises:
        InputError: where there is no index, it is of another format or encoder, or it does not fit into memory.
    """
    header_file = folder / "index.json"
    if not header_file.exists():
        raise InputError(f"{folder.parent} keeps no index of its training documents; train it with --index yes")
    header = json.loads(header_file.read_text())
    if header["format"] != FORMAT:
        raise InputError(
            f"{folder} is an index of format {header['format']}, this version reads {FORMAT}; train the run again"
        )
    if header["encoder"] != encoder:
        raise InputError(f"{folder} was made with another encoder than the model beside it; train the run again")
    _check_memory(folder, header)
    tensors = load_file(folder / "vectors.safetensors")
    documents = pyarrow.parquet.read_table(folder / "documents.parquet").to_pydict()
    terms = pyarrow.parquet.read_table(folder / "terms.parquet")["term"].to_pylist()
    parts = tuple(tensors[name].numpy() for name in ("data", "indices", "indptr"))
    return Index(
        embeddings=tensors["embeddings"],
        words=csr_matrix(parts, shape=(header["documents"], len(terms))),
        labels=tensors["labels"],
        documents=Documents(documents["text"], text_pairs=documents.get("text_pair"), source=str(folder)),
        names=header["names"],
        vectors=WordVectors(terms, tensors["word_weights"].numpy()),
        targets=tensors["targets"],
        folder=folder,
    )


def fingerprint(model: Path) -> str:
    """What tells one saved model from another: a digest of its weights."""
    digest = hashlib.sha256()
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _check_memory(folder: Path, header: dict[str, Any]) -> None:
    needed, free = 2 * header["bytes"], psutil.virtual_memory().available
    if needed > free:
        fitting = int(header["documents"] * free / needed)
        raise InputError(
            f"{folder} holds {header['documents']:,} documents and takes {needed / 1e9:.1f} GB, of which "
            f"{free / 1e9:.1f} GB are free; train the run with --index_size {fitting} to keep so many of them"
        )
