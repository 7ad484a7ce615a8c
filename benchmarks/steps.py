"""Single training steps: documents drawn by a fixed seed, trainers for them, and steps exactly as a trainer takes them.

The documents are those of the benchmark data sets where the variable GRAPHLOSS_DATA names a folder with them. Where it
does not, docstrings of what is installed stand in, cut to about the length of MR's sentences.
"""

import itertools
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from benchmarks.timing import clock
from graphloss import GLossConfig, GraphLossTrainer, TrainingConfig
from graphloss.data.docstrings import docstring_splits
from graphloss.data.documents import Documents, label_ids, label_names
from graphloss.data.splits import DATA_VARIABLE, SPLITS, Splits, read_splits
from graphloss.data.tokens import encode
from graphloss.models.classifier import Classifier, build_classifier
from graphloss.models.encoder import load_encoder
from graphloss.models.parts import parts_by_length

BATCH, MAX_LENGTH, CLIPPED_AT = 128, 128, 1.0
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")
CHARACTERS = 120  # of a docstring


class Drawn(NamedTuple):
    """Documents drawn from a data set.

    Attributes:
        documents: with labels.
        names: of all classes of the data set, in order.
        source: what the data set is, for people.
    """

    documents: Documents
    names: list[str]
    source: str


def data_is_there() -> bool:
    return bool(os.environ.get(DATA_VARIABLE))


def splits_of(data: str) -> tuple[Splits, str]:
    """The splits of a benchmark data set or what stands in for it, and what they are."""
    if data_is_there():
        return read_splits(data=data), data
    found = docstring_splits(classes=8, training=32, validation=8, test=32)
    cut = {split: _shortened(getattr(found, split)) for split in SPLITS}
    return Splits(**cut), f"docstrings in place of {data}; {DATA_VARIABLE} names no folder"


def draw(data: str, size: int) -> Drawn:
    """Training documents in a random order that is always the same; those of a small data set come again and again."""
    splits, source = splits_of(data)
    generator = torch.Generator().manual_seed(0)
    count = len(splits.train)
    orders = [torch.randperm(count, generator=generator) for _ in range(-(-size // count))]
    rows = torch.cat(orders)[:size].tolist()
    return Drawn(splits.train.take(rows), label_names(splits.train), source)


def make_trainer(drawn: Drawn, *, dropout: bool = True, **settings: Any) -> GraphLossTrainer:
    """A trainer of MiniLM on drawn documents; settings as in `trainer_of`."""
    encoder = load_encoder("minilm")
    if not dropout:
        encoder.config.update(dict.fromkeys(DROPOUTS, 0.0))
    torch.manual_seed(0)
    model = build_classifier(encoder, drawn.names)
    tokens = encode(drawn.documents, encoder.tokenizer, MAX_LENGTH, label_ids(drawn.documents, drawn.names))
    return trainer_of(model, encoder.tokenizer, tokens, pooling=encoder.pooling, **settings)


def trainer_of(
    model: Classifier,
    tokenizer: PreTrainedTokenizerBase,
    tokens: Dataset,
    *,
    pooling: str,
    device: str,
    micro_batch_size: int | None = None,
    **settings: Any,
) -> GraphLossTrainer:
    """A trainer whose batch is all of `tokens`.

    Accelerate keeps one precision a process, that of the last trainer made, and only trainers in float32 never ask for
    it: of several, make those in float32 first.

    Args:
        device: "cpu" or "cuda".
        micro_batch_size: documents whose activations are held at once; None for the whole batch.
        settings: of `TrainingConfig`.
    """
    args = TrainingConfig(
        output_dir=tempfile.gettempdir(),  # nothing is written
        save_strategy="no",
        use_cpu=device == "cpu",
        per_device_train_batch_size=len(tokens),
        micro_batch_size=str(micro_batch_size or len(tokens)),
        **settings,
    )
    return GraphLossTrainer(
        model, args, gloss=GLossConfig(), pooling=pooling, train_dataset=tokens, processing_class=tokenizer
    )


class TrainingStep:
    """Steps of a trainer: loss and gradients, clipped, then its optimizer.

    Args:
        trainer: a fresh one; its model and optimizer are prepared as `train` would.
    """

    def __init__(self, trainer: GraphLossTrainer) -> None:
        """Prepare what `train` prepares."""
        self.trainer = trainer
        trainer.create_optimizer()
        self.model, self.optimizer = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
        trainer.current_gradient_accumulation_steps = 1

    def batch(self, rows: Sequence[int] | None = None) -> dict[str, Tensor]:
        """The documents at `rows`, else all, padded to the longest, on the device."""
        tokens = self.trainer.train_dataset
        rows = range(len(tokens)) if rows is None else rows
        return self.trainer._prepare_inputs(self.trainer.data_collator([tokens[row] for row in rows]))

    def gradients(self, batch: dict[str, Tensor]) -> None:
        """Loss and gradients of a batch."""
        self.trainer.training_step(self.model, batch)

    def update(self) -> None:
        """Clip the gradients, move the weights, and go on to the next step."""
        self.trainer.accelerator.clip_grad_norm_(self.model.parameters(), CLIPPED_AT)
        self.optimizer.step()
        self.model.zero_grad()
        self.trainer.state.global_step += 1

    def __call__(self, batch: dict[str, Tensor]) -> None:
        """One whole step."""
        self.gradients(batch)
        self.update()

    def by_part(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Seconds of the parts of a step, taken one by one as `Trainer.training_step` takes them."""
        self.model.train()
        times = [clock()]
        loss = self.trainer.compute_loss(self.model, batch)
        times.append(clock())
        self.trainer.accelerator.backward(loss)
        times.append(clock())
        self.update()
        times.append(clock())
        parts = [end - start for start, end in itertools.pairwise(times)]
        return dict(zip(("forward", "backward", "optimizer"), parts, strict=True)) | {"step": times[-1] - times[0]}


def lengths_of(trainer: GraphLossTrainer) -> Tensor:
    """(B,) the tokens of each document of the batch."""
    return torch.tensor([len(row) for row in trainer.train_dataset["input_ids"]])


def computed_tokens(trainer: GraphLossTrainer) -> int:
    """The tokens of the batch that the encoder computes: with the padding inside the parts that it is cut into."""
    lengths = lengths_of(trainer)
    parts = parts_by_length(lengths, trainer.budget, int(trainer.args.micro_batch_size))
    return sum(len(rows) * int(lengths[rows].max()) for rows in parts)


def resident(field: str) -> int:
    """Bytes that the kernel counts for this process under a name such as VmRSS, or VmHWM for the most so far."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) * 1024


def _shortened(documents: Documents) -> Documents:
    return Documents([text[:CHARACTERS] for text in documents.texts], documents.labels)
