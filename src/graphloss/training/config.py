"""The settings of training, from which flags, YAML, Python and the saved run all come."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy

from graphloss.errors import InputError
from graphloss.losses.metric import METRIC_LOSSES
from graphloss.options import option
from graphloss.training.distributed import agreed
from graphloss.training.hardware import PRECISIONS, SCORE_PRECISIONS, settle_precision
from graphloss.training.schedule import BETWEEN, USUAL_EPOCHS, USUAL_WIDTH, steps_of_few, usual_rate

LOSSES = ("gloss", "ce", *METRIC_LOSSES)
SETUPS = ("integrated", "standalone", "frozen")
PROBES = ("fitted", "paper")


@dataclass
class TrainingConfig(TrainingArguments):
    """How the classifier is trained: `transformers.TrainingArguments` with other defaults and a few fields more.

    Attributes:
        left_open: the fields that were not given and have no default of their own; what stands in them is derived. A
            trainer decides on some, which are then as if given, to be repeated.

    Defaults that differ: batches of 128, as in the paper, for the graph needs several documents of each class; at
    most 8 epochs with early stopping on validation macro-F1 and the best weights restored; warm-up over a tenth of
    the steps. Evaluation happens when checkpoints are saved, or the other way round, unless both are given.
    """

    output_dir: str | None = option(None, "Run directory: where the model, scores and settings go.")
    loss: str = option(
        "gloss",
        "Loss: gloss, the graph loss; ce, cross-entropy alone; or, to compare with, scl (supervised contrastive), "
        "triplet (batch-all) or cosine (of all pairs).",
        LOSSES,
    )
    setup: str = option(
        "integrated",
        "integrated: the loss in a sum with cross-entropy fine-tunes the encoder and its head; standalone: the loss "
        "alone fine-tunes the encoder, then a linear head is fitted to it; frozen: a linear head is fitted to the "
        "encoder as it is.",
        SETUPS,
    )
    probe: str = option(
        "fitted",
        "How the linear head of the standalone set-up is made: fitted, as with --head_end; paper, by Adam at 1e-4 for "
        "at most 50 epochs, stopped on validation macro-F1.",
        PROBES,
    )
    class_weights: str = option(
        "none", "Weights of the classes in the loss: none, or balanced (inverse to their size).", ("none", "balanced")
    )
    learning_rate_drop: float = option(
        0.0, "Epoch after which the learning rate is a tenth of what the schedule says; 0 for never. The paper's is 30."
    )
    layer_decay: float = option(
        1.0,
        "Learning rate of each layer of the encoder as a share of that of the layer above it; the head's is "
        "--learning_rate.",
    )
    patience: int = option(
        3, "Stop after this many evaluations without a better validation score; 0 never stops early."
    )

    micro_batch_size: str = option(
        "auto",
        "Documents of a batch whose activations are in memory at once; the others are computed again in the backward "
        "pass, exactly. A number, or auto for what fits.",
    )
    precision: str = option(
        "auto",
        "Precision of the encoder: float32, bf16 or fp16; auto is bf16 where the device is faster in it. The graph "
        "and the weights are always in float32.",
        PRECISIONS,
    )
    score_precision: str = option(
        "float32",
        "Precision of the final scores: float32, so that they are those of graphloss predict on any machine, or "
        "training, that of the run, which is faster where bf16 is.",
        SCORE_PRECISIONS,
    )
    documents_per_class: int = option(
        0,
        "Class-aware batches: documents of a class that share a batch, so that a batch has about batch size / this "
        "many classes; 0 draws batches at random.",
    )
    per_device_train_batch_size: int = option(128, "Documents that share a graph, on each device.")
    per_device_eval_batch_size: int = option(128, "Documents embedded at once for evaluation, on each device.")
    num_train_epochs: float = option(
        None, "Epochs at most; where not given 8, and as many as make 40 steps of few documents, scored every 10 steps."
    )
    learning_rate: float = option(
        None,
        "The highest learning rate; where not given 5e-5 for an encoder of width 768, in inverse proportion for others "
        "and 1e-4 at most, which is that of minilm; half of it for few documents, fewer than ten batches.",
    )
    warmup_steps: float = option(0.1, "Steps of linear warm-up; below 1, a share of all steps.")
    logging_steps: float = option(10, "Steps between two lines of progress.")
    save_strategy: str | None = option(  # type: ignore[assignment]
        None, "When checkpoints are saved: epoch (default), steps, best or no."
    )
    eval_strategy: str | None = option(  # type: ignore[assignment]
        None, "When validation documents are scored: as checkpoints are saved, unless both are given."
    )
    save_total_limit: int | None = option(2, "Checkpoints kept while training; the best one always is.")
    restore_callback_states_from_checkpoint: bool = option(True, "Go on with the patience that was left.")
    load_best_model_at_end: bool = option(
        True,
        "Restore the weights of the best evaluation; beside cross-entropy, where the last layer is fitted afterwards, "
        "only if training was stopped early: what was scored had another one.",
    )
    metric_for_best_model: str | None = option(
        None,
        "Score of the validation documents that decides: macro_f1 where not given, in the standalone set-up "
        "macro_silhouette.",
    )
    disable_tqdm: bool | None = option(True, "The progress bars of transformers; our own lines stand instead.")
    logging_nan_inf_filter: bool = option(False, "A loss that is not finite stops the run instead of being filtered.")
    dataloader_pin_memory: bool = option(torch.cuda.is_available(), "Pin memory for transfers to the device.")

    def __post_init__(self) -> None:
        for name, choices in (
            ("loss", LOSSES),
            ("setup", SETUPS),
            ("probe", PROBES),
            ("precision", PRECISIONS),
            ("score_precision", SCORE_PRECISIONS),
        ):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.setup == "standalone" and self.loss == "ce":
            raise InputError("--setup standalone needs a loss on embeddings; give --loss gloss, scl, triplet or cosine")
        self._check_micro_batch_size()
        if not 0.0 <= self.learning_rate_drop < float("inf"):
            raise InputError(f"learning_rate_drop must not be negative, got {self.learning_rate_drop}")
        if not 0.0 < self.layer_decay <= 1.0:
            raise InputError(f"layer_decay must be above 0 and at most 1, got {self.layer_decay}")
        if not 0 <= self.documents_per_class <= self.per_device_train_batch_size:
            raise InputError(
                f"documents_per_class must lie between 0 and per_device_train_batch_size "
                f"{self.per_device_train_batch_size}, got {self.documents_per_class}"
            )
        if self.metric_for_best_model is None:
            self.metric_for_best_model = "macro_silhouette" if self.setup == "standalone" else "macro_f1"
        self.left_open = {each.name for each in fields(self) if each.init and getattr(self, each.name) is None}
        if self.num_train_epochs is None:
            self.num_train_epochs = USUAL_EPOCHS
        if self.learning_rate is None:
            self.learning_rate = usual_rate(USUAL_WIDTH)
        self._let_evaluation_follow_saving()
        self._fold_precision()
        super().__post_init__()
        if isinstance(self.seed, int) and not 0 <= self.seed < 2**32:  # what NumPy takes; RunConfig refuses other kinds
            raise InputError(f"seed must lie between 0 and {2**32 - 1:,}, got {self.seed}")

    def settle_schedule(self, documents: int, width: int = USUAL_WIDTH) -> None:
        """Decide on what was left open: of few documents, how many steps and when they are scored; the learning rate.

        Args:
            documents: of an epoch.
            width: entries of the encoder's embeddings.
        """
        batch = self.train_batch_size * self.world_size * self.gradient_accumulation_steps
        steps = steps_of_few(math.ceil(documents / batch))
        if "learning_rate" in self.left_open:
            self.learning_rate = usual_rate(width, few=steps > 0)
            self.left_open = self.left_open - {"learning_rate"}  # never in place: copies share it
        schedule = {"num_train_epochs", "save_strategy", "eval_strategy"}
        if steps and schedule <= self.left_open and self.max_steps <= 0:
            self.max_steps, self.eval_steps, self.save_steps = steps, BETWEEN, BETWEEN
            self.eval_strategy = self.save_strategy = IntervalStrategy.STEPS
            self.left_open = self.left_open - schedule

    def settle_precision(self, say: Callable[[str], None]) -> None:
        """Turn `precision` into one that the device has, measured where it is "auto", and into the flags of
        transformers.

        Args:
            say: told, in one line, where the device lacks what was asked for.
        """
        device = self.device  # asking for it sets up the processes
        self.precision = agreed(lambda: settle_precision(self.precision, device, say))
        self.bf16, self.fp16 = self.precision == "bf16", self.precision == "fp16"
        self.mixed_precision = {"float32": "no"}.get(self.precision, self.precision)

    def _check_micro_batch_size(self) -> None:
        self.micro_batch_size = str(self.micro_batch_size)
        if self.micro_batch_size != "auto" and not (self.micro_batch_size.isdecimal() and int(self.micro_batch_size)):
            raise InputError(f"micro_batch_size must be auto or a number above 0, got {self.micro_batch_size!r}")

    def _fold_precision(self) -> None:
        """Take the flags of transformers for `precision`; their checks would refuse what here falls back."""
        flagged = [name for name in ("bf16", "fp16") if getattr(self, name)]
        if len(flagged) == 2 or (flagged and self.precision not in ("auto", flagged[0])):
            raise InputError(f"--{flagged[0]} and --{flagged[-1] if flagged[1:] else 'precision'} contradict; give one")
        self.precision = flagged[0] if flagged else self.precision
        self.bf16 = self.fp16 = False

    def _let_evaluation_follow_saving(self) -> None:
        if self.save_strategy is None:
            self.save_strategy = self.eval_strategy or "epoch"
            if self.eval_strategy is not None and self.eval_steps:
                self.save_steps = self.eval_steps
        if self.eval_strategy is None:
            self.eval_strategy = "epoch" if self.save_strategy == "best" else self.save_strategy
            self.eval_steps = self.save_steps
        if self.save_strategy == "no" or self.eval_strategy == "no":
            self.load_best_model_at_end = False
