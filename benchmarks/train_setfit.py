"""SetFit with its defaults on documents in a folder; run by benchmarks/few_labels.py, in an environment of its own.

Run `python benchmarks/train_setfit.py FOLDER ENCODER`. Reads train.parquet and test.parquet of the folder and writes
setfit.json: the accuracy on the test documents, and the seconds from loading the encoder to the last prediction.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from datasets import load_dataset
from setfit import SetFitModel, Trainer, TrainingArguments


def main(folder: Path, encoder: str) -> None:
    files = {split: str(folder / f"{split}.parquet") for split in ("train", "test")}
    documents = load_dataset("parquet", data_files=files)
    start = time.perf_counter()
    model = SetFitModel.from_pretrained(encoder)
    with tempfile.TemporaryDirectory() as kept:
        settings = TrainingArguments(output_dir=kept, save_strategy="no", report_to="none")
        Trainer(model, args=settings, train_dataset=documents["train"]).train()
    said = model.predict(documents["test"]["text"])
    seconds = time.perf_counter() - start
    right = [one == other for one, other in zip(said, documents["test"]["label"], strict=True)]
    (folder / "setfit.json").write_text(json.dumps({"accuracy": sum(right) / len(right), "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
