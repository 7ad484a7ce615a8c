"""What the steps of a run have in common: its documents and its encoder."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import torch
from datasets import Dataset
from rich.console import Console

from graphloss.data.tokens import encode
from graphloss.models.classifier import Classifier, build_classifier
from graphloss.models.encoder import Encoder, fitting_length, load_encoder
from graphloss.models.forward import Answers, answer
from graphloss.models.mean_layer import add_mean_layer
from graphloss.run.config import RunConfig
from graphloss.run.documents import LabelledSplits
from graphloss.training.distributed import in_shares


@dataclass(eq=False)
class Workspace:
    """The documents of a run, its encoder as it was published, and what a classifier over it says of them.

    Attributes:
        config: the settings.
        data: the documents.
        console: for progress.
    """

    config: RunConfig
    data: LabelledSplits
    console: Console
    _tokens: dict[str, Dataset] = field(default_factory=dict)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder; texts are cut where its positions end."""
        encoder = load_encoder(self.config.model.encoder)
        self.config.model.max_length = fitting_length(encoder, self.config.model.max_length, self.say)
        return encoder

    @property
    def pooling(self) -> str:
        """What the graph sees of the last hidden state: "first", "mean" or "last"."""
        wanted = self.config.model.pooling
        return self.encoder.pooling if wanted == "auto" else wanted

    def say(self, line: str) -> None:
        """Tell the user, in one line."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @cached_property
    def say_once(self) -> Callable[[str], None]:
        """The same for what is true of several splits."""
        return cache(self.say)

    def build(self, head: str) -> Classifier:
        """The encoder with a new head, "stock" or "linear".

        Where the run has the stock head and the graph sees the mean of the tokens, the head is to see it, too.
        """
        model = build_classifier(
            self.encoder,
            self.data.names,
            head=head,
            pooling=self.pooling,
            attn_implementation=self.config.model.attn_implementation,
            dropout=self.config.model.dropout,
        )
        if self.config.model.head == "stock" and self.pooling == "mean" and not add_mean_layer(model):
            self.say_once(
                "note: the stock head of this architecture does not read the mean of the tokens, which the graph sees; "
                "--head linear does"
            )
        return model

    def tokens(self, split: str) -> Dataset:
        """The documents of a split, tokenized, with the numbers of their classes."""
        if split not in self._tokens:
            self._tokens[split] = self._tokenized(split)
        return self._tokens[split]

    def _tokenized(self, split: str) -> Dataset:
        kept = self.config.data.token_cache(self.encoder.tokenizer, self.say_once)
        documents, most = self.data.documents(split), self.config.model.max_length
        tokens = encode(documents, self.encoder.tokenizer, most, self.data.ids[split], kept)
        full = sum(len(ids) == most for ids in tokens["input_ids"])
        if split == "train" and full:
            self.say(
                f"note: {full:,} of {len(tokens):,} training documents fill {most} tokens; the encoder reads no more "
                "of them unless --max_length is larger"
            )
        return tokens

    def answer(self, model: Classifier, split: str) -> Answers:
        """What a classifier says of the documents of a split, for scores and predictions."""
        with self._precision_of_run(self.config.training.score_precision == "training"):
            return self._answer(model, self.tokens(split))

    def _answer(self, model: Classifier, tokens: Dataset) -> Answers:
        most = self.config.training.per_device_eval_batch_size
        return answer(model, tokens, self.encoder.tokenizer, pooling=self.pooling, most=most)

    def training_answer(self, model: Classifier) -> Answers:
        """Of the training documents, in the precision of the run: neither scores nor predictions are made from them.

        Processes that train together share them."""
        with self._precision_of_run():
            return in_shares(self.tokens("train"), lambda own: self._answer(model, own))

    def _precision_of_run(self, wanted: bool = True) -> torch.autocast:
        types: dict[str, Any] = {"bf16": torch.bfloat16, "fp16": torch.float16}
        training = self.config.training
        enabled = wanted and training.precision in types
        return torch.autocast(training.device.type, types.get(training.precision), enabled=enabled)
