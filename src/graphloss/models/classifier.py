"""A classifier over an encoder: with the architecture's own head, or with one linear layer on the embedding."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from graphloss.errors import InputError, Unavailable
from graphloss.graph.affinity import full_precision
from graphloss.models.encoder import Encoder
from graphloss.models.pooling import pool

HEADS = ("stock", "linear")
HEAD_FILE, UNIT_LENGTH = "head.safetensors", "unit_length"
ON_DISK = {"local_files_only": True, "trust_remote_code": False}


class LinearHeadClassifier(nn.Module):
    """An encoder with one linear layer on its pooled embedding: the classifier of the paper.

    Args:
        base_model: the encoder.
        num_labels: C.
        pooling: "first", "mean" or "last".

    Attributes:
        unit_length: whether the layer reads the embedding at unit length, as the graph does, and in float32 whatever
            the precision of the encoder; off while it is trained.
    """

    def __init__(self, base_model: PreTrainedModel, num_labels: int, pooling: str) -> None:
        super().__init__()
        self.base_model = base_model
        self.config = base_model.config
        self.pooling = pooling
        self.unit_length = False
        config = base_model.config
        self.dropout = nn.Dropout(getattr(config, "hidden_dropout_prob", getattr(config, "dropout", 0.0)))
        self.head = nn.Linear(config.hidden_size, num_labels)
        nn.init.normal_(self.head.weight, std=getattr(config, "initializer_range", 0.02))
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Logits (B, C) of a batch of (B, T) tokens."""
        kinds = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        hidden_states = self.base_model(input_ids=input_ids, attention_mask=attention_mask, **kinds)[0]
        embeddings = self.dropout(pool(hidden_states, attention_mask, self.pooling))
        if not self.unit_length:
            return SequenceClassifierOutput(logits=self.head(embeddings))
        with full_precision(embeddings):
            return SequenceClassifierOutput(logits=self.head(functional.normalize(embeddings.float(), dim=1)))


Classifier = PreTrainedModel | LinearHeadClassifier


def build_classifier(
    encoder: Encoder,
    names: list[str],
    *,
    head: str = "stock",
    pooling: str = "mean",
    attn_implementation: str | None = None,
    dropout: float | None = None,
) -> Classifier:
    """Load an encoder's weights and put a new classification head on them.

    Args:
        encoder: from `load_encoder`.
        names: of the C classes, in order.
        head: "stock", the architecture's own, or "linear", one layer on the pooled embedding.
        pooling: of the linear head.
        attn_implementation: of transformers; None for its default.
        dropout: everywhere in the classifier; None for what the encoder was made with.

    Raises:
        Unavailable: where the hub does not give its weights.
        InputError: where the architecture has no classification head, its weights are missing, or the machine lacks
            the attention.
    """
    if head not in HEADS:
        raise InputError(f"head must be one of {', '.join(HEADS)}, got {head!r}")
    labels = {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {n: i for i, n in enumerate(names)},
    }
    loader = AutoModel if head == "linear" else AutoModelForSequenceClassification
    dropouts = {} if dropout is None else dict.fromkeys(_dropouts(encoder.config), dropout)
    encoder.config.update({"problem_type": "single_label_classification"} | labels | dropouts)
    try:
        model = loader.from_pretrained(
            encoder.location,
            config=encoder.config,
            local_files_only=encoder.local,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
            attn_implementation=attn_implementation,
        )
    except (OSError, ValueError, ImportError) as error:
        message = f"encoder {encoder.location!r} cannot be loaded: {str(error).splitlines()[0]}"
        if isinstance(error, OSError) and not encoder.local:
            raise Unavailable("weights", message) from None
        raise InputError(message) from None
    return LinearHeadClassifier(model, len(names), pooling) if head == "linear" else model


def _dropouts(config: PreTrainedConfig) -> list[str]:
    """The names under which architectures keep probabilities of dropout."""
    return [name for name in config.to_dict() if "dropout" in name or name.endswith("_pdrop")]


def save_classifier(model: Classifier, folder: Path) -> None:
    """Write a classifier so that transformers loads it: weights and config; the linear head in a file of its own."""
    if isinstance(model, LinearHeadClassifier):
        model.base_model.save_pretrained(folder)
        head = {name: tensor.detach().cpu().contiguous() for name, tensor in model.head.state_dict().items()}
        save_file(head, folder / HEAD_FILE, metadata={UNIT_LENGTH: str(model.unit_length)})
    else:
        model.save_pretrained(folder)


def load_classifier(folder: Path, pooling: str) -> Classifier:
    """Load what `save_classifier` wrote, on the CPU, in evaluation mode."""
    if not (folder / HEAD_FILE).exists():
        return AutoModelForSequenceClassification.from_pretrained(folder, **ON_DISK).eval()
    names = json.loads((folder / "config.json").read_text())["id2label"]
    model = LinearHeadClassifier(AutoModel.from_pretrained(folder, **ON_DISK), len(names), pooling)
    with safe_open(folder / HEAD_FILE, framework="pt") as file:
        model.head.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        model.unit_length = (file.metadata() or {}).get(UNIT_LENGTH) == str(True)
    return model.eval()
