"""The real data sets, where the variable GRAPHLOSS_DATA names a folder that has them."""

import os
from pathlib import Path

import pytest
import yaml

from graphloss.data.benchmarks import Benchmark
from graphloss.data.documents import label_names, single_labels
from graphloss.data.hub import read_benchmark
from graphloss.data.splits import read_splits

FOLDER = Path(os.environ.get("GRAPHLOSS_DATA", "nowhere"))
CLASSES = {"mr": 2, "r8": 8, "r52": 52, "ohsumed": 23, "20ng": 20}


@pytest.mark.parametrize("name", CLASSES)
def test_published_splits(name: str) -> None:
    if not (FOLDER / name).is_dir():
        pytest.skip(f"the variable GRAPHLOSS_DATA names no folder with {name}")
    splits = read_splits(data=name)
    assert len(label_names(splits.train)) == CLASSES[name]
    if name == "r52":
        assert len(single_labels(splits.train)) == 4


def test_a_benchmark_of_text_pairs_whose_validation_documents_are_the_test_documents(tmp_path: Path) -> None:
    """In the form of GLUE: several data sets in one repository, test labels of -1."""
    folder = tmp_path / "glue" / "qnli"
    folder.mkdir(parents=True)
    for split, labels in (("train", [0, 1, 1]), ("validation", [1, 0]), ("test", [-1, -1])):
        rows = [f"what {row},that {row},{label}\n" for row, label in enumerate(labels)]
        (folder / f"{split}.csv").write_text("question,sentence,label\n" + "".join(rows))
    files = [{"split": split, "path": f"qnli/{split}.csv"} for split in ("train", "validation", "test")]
    names = {"class_label": {"names": {"0": "entailment", "1": "not_entailment"}}}
    features = [{"name": "question", "dtype": "string"}, {"name": "sentence", "dtype": "string"}]
    features.append({"name": "label", "dtype": names})
    card = {
        "configs": [{"config_name": "qnli", "data_files": files}],
        "dataset_info": [{"config_name": "qnli", "features": features}],
    }
    (tmp_path / "glue" / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
    glue = Benchmark(str(tmp_path / "glue"), 3, 2, "qnli", text="question", text_pair="sentence", test="validation")
    found = read_benchmark(glue)
    assert {split: len(documents) for split, documents in found.items()} == {"train": 3, "test": 2}
    assert found["train"].texts == ["what 0", "what 1", "what 2"]
    assert found["train"].text_pairs == ["that 0", "that 1", "that 2"]
    assert found["test"].labels == ["not_entailment", "entailment"]
