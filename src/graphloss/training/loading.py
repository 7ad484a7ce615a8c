"""From tokenized training documents to the batches of a process."""

from collections.abc import Callable
from functools import partial
from typing import Any

from accelerate.data_loader import SeedableRandomSampler, prepare_data_loader
from datasets import Dataset
from torch.utils.data import BatchSampler, DataLoader

from graphloss.data.batching import ClassAwareBatches, SharedBatches
from graphloss.data.unlabelled import MixedBatches
from graphloss.errors import InputError
from graphloss.losses.config import GLossConfig
from graphloss.training.config import TrainingConfig
from graphloss.training.distributed import ProcessGroup

Batches = ClassAwareBatches | MixedBatches | BatchSampler


def documents_of_an_epoch(tokens: Dataset) -> int:
    """The training documents that an epoch goes through: those with a label, where some have none."""
    return sum(label >= 0 for label in tokens["labels"]) if "labels" in tokens.column_names else len(tokens)


def batches_of(
    tokens: Dataset, args: TrainingConfig, gloss: GLossConfig, batch_size: int, ranks: ProcessGroup | None
) -> Batches | None:
    """What makes the batches of all processes together; None where those of transformers will do.

    Args:
        tokens: the training documents.
        args: says whether batches are class-aware.
        gloss: says what share of a batch is unlabelled.
        batch_size: of all processes together.
        ranks: the processes.

    Raises:
        InputError: for an order that processes cannot share.
    """
    seed = args.data_seed if args.data_seed is not None else args.seed
    if args.documents_per_class:
        return ClassAwareBatches(
            list(tokens["labels"]), batch_size, documents_per_class=args.documents_per_class, seed=seed
        )
    if "labels" in tokens.column_names and min(tokens["labels"]) < 0:
        share = gloss.unlabelled_share if args.loss == "gloss" else 0.0
        mixed = MixedBatches(list(tokens["labels"]), batch_size, share=share, seed=seed)
        steps = args.max_steps if args.max_steps > 0 else len(mixed) * args.num_train_epochs
        mixed.ramp_up = round(gloss.unlabelled_ramp_up * steps)
        return mixed
    if ranks is None:
        return None
    if args.train_sampling_strategy != "random":
        raise InputError(
            f"--train_sampling_strategy {args.train_sampling_strategy} is for one process; several share random batches"
        )
    order = SeedableRandomSampler(tokens, data_seed=seed)  # as transformers and accelerate draw in one process
    return BatchSampler(order, batch_size, drop_last=args.dataloader_drop_last)


def load_batches(
    tokens: Dataset,
    batches: Batches,
    args: TrainingConfig,
    collator: Callable[[list[dict[str, Any]]], Any],
    ranks: ProcessGroup | None,
) -> DataLoader:
    """A loader of the batches, on the device.

    Several processes share each batch, the last one of an epoch included: every document comes once, where accelerate
    would fill up with others. A process to which a batch leaves none is given one without a label, a stand-in, with
    which it takes part in what all do together.

    Args:
        tokens: the training documents.
        batches: of `batches_of`, row numbers of all processes together.
        args: how documents are loaded.
        collator: makes padded tensors of documents.
        ranks: the processes; None for one.
    """
    shared = batches if ranks is None else SharedBatches(batches, ranks.index, ranks.count)
    loader = DataLoader(
        tokens,
        batch_sampler=shared,
        collate_fn=partial(_collate, collator=collator, stand_in=tokens[0]),
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory,
    )
    return prepare_data_loader(loader, args.device, num_processes=1, process_index=0, put_on_device=True)


def _collate(documents: list[dict[str, Any]], collator: Any, stand_in: dict[str, Any]) -> dict[str, Any]:
    if documents:
        return collator(documents)
    batch = collator([stand_in])
    return batch | {"labels": batch["labels"][:0]}
