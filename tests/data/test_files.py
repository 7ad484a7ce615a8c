import json
from pathlib import Path

import pytest

from graphloss.data.documents import label_ids, label_names, single_labels
from graphloss.data.files import Columns, read_documents
from graphloss.data.splits import cut_validation, read_splits
from graphloss.data.writing import write_table
from graphloss.errors import InputError

TEXTS = ["plain", 'a "quoted", one', "two\nlines", "tab\there", "líne\u2028separator", "emoji 🎉"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format_gives_back_what_was_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"documents{suffix}"
    write_table(path, {"text": TEXTS, "label": ["a", "b"] * 3})
    documents = read_documents(path)
    assert documents.texts == TEXTS
    assert documents.labels == ["a", "b"] * 3
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


def test_a_damaged_byte_in_a_parquet_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    write_table(path, {"text": ["wholesome"], "label": ["a"]})
    path.write_bytes(path.read_bytes().replace(b"wholesome", b"whol\xe3some"))
    with pytest.raises(InputError, match=r"cannot be read as Parquet \(.*codec.*\); write it anew"):
        read_documents(path)


def test_a_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes("\ufefftext,label\r\nx,1\r\n\r\ny,2\r\n".encode())
    documents = read_documents(path)
    assert documents.texts == ["x", "y"]
    assert documents.place(1).endswith("row 2 (line 4)")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([10, 9, 2], ["2", "9", "10"]),
        (["10", "9", "-1"], ["-1", "9", "10"]),
        ([True, False, True], ["False", "True"]),
        (["b", "a", "10"], ["10", "a", "b"]),
        ([1.0, 0.0, 1.0], ["0", "1"]),
    ],
)
def test_labels_of_any_kind_have_names_in_order(values: list, names: list[str], tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"text": "x", "label": value}) + "\n" for value in values))
    documents = read_documents(path)
    assert label_names(documents) == names
    assert [names[index] for index in label_ids(documents, names)] == documents.labels


def test_other_columns_and_text_pairs(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("body,kind,other\nx,a,y\n")
    documents = read_documents(path, Columns("body", "kind", "other"))
    assert (documents.texts, documents.labels, documents.text_pairs) == (["x"], ["a"], ["y"])


def test_unlabelled_rows_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"text": "x", "label": "a"}\n{"text": "y"}\n{"text": "z", "label": null}\n')
    with pytest.raises(InputError, match=r"line 2.*no label, in 2 of 3 rows"):
        read_documents(path)
    documents = read_documents(path, allow_unlabelled=True)
    assert label_ids(documents, ["a"]) == [0, -100, -100]


def test_the_cut_is_stratified_seeded_and_spares_single_documents(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    labels = ["common"] * 80 + ["rare"] * 20 + ["single"] + [None] * 10
    path.write_text("".join(json.dumps({"text": f"x{row}", "label": label}) + "\n" for row, label in enumerate(labels)))
    documents = read_documents(path, allow_unlabelled=True)
    train, validation = cut_validation(documents, 0.1, seed=0)
    assert len(train) + len(validation) == len(labels)
    assert set(train.texts).isdisjoint(validation.texts)
    assert sorted(validation.labels or []) == ["common"] * 8 + ["rare"] * 2
    assert single_labels(train) == ["single"]
    assert cut_validation(documents, 0.1, seed=0)[1].texts == validation.texts
    assert cut_validation(documents, 0.1, seed=1)[1].texts != validation.texts


def test_a_folder_of_splits(data: Path) -> None:
    splits = read_splits(data=str(data))
    assert (len(splits.train), len(splits.validation)) == (60, 24)
    assert splits.test is not None
    (data / "validation.csv").unlink()
    splits = read_splits(data=str(data), seed=3)
    assert (len(splits.train), len(splits.validation)) == (54, 6)


def test_a_benchmark_is_found_in_the_folder_of_the_variable_and_counted(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHLOSS_DATA", str(data.parent))
    data.rename(data.parent / "mr")
    with pytest.raises(InputError, match="mr: found 84 documents for training and validation and 24 for test"):
        read_splits(data="MR")


def test_a_benchmark_without_folder_or_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAPHLOSS_DATA", raising=False)
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    with pytest.raises(InputError, match=r"dxgp/R8 could not be loaded from the hub.*GRAPHLOSS_DATA"):
        read_splits(data="r8")
