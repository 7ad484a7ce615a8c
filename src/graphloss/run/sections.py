"""The settings of a run beside those of its losses and its training: documents, classifier, what is kept of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from graphloss.data.files import Columns
from graphloss.data.token_cache import TokenCache, usual_cache_folder
from graphloss.errors import InputError
from graphloss.options import option


@dataclass
class DataConfig:
    """Where the documents come from."""

    train: str | None = option(None, "File of training documents: .csv, .tsv, .jsonl or .parquet.")
    validation: str | None = option(None, "File of validation documents; cut off the training file where not given.")
    test: str | None = option(None, "File of test documents, scored once, at the end.")
    data: str | None = option(
        None,
        "Instead of files: a folder with train, validation and test files, a benchmark (mr, r8, r52, 20ng, ohsumed, "
        "sst2, qnli), or a data set on the hub.",
    )
    text_column: str = option("text", "Column of the texts.")
    label_column: str = option("label", "Column of the labels.")
    text_pair_column: str = option("text_pair", "Column of second texts, read where there is one.")
    allow_unlabelled: bool = option(
        False, "Take training documents with an empty label as unlabelled instead of refusing them."
    )
    unlabelled: str | None = option(
        None,
        "File of further training documents whose labels, if any, are not read: for the index and, with "
        "--unlabelled_share, the batch graphs.",
    )
    strict: bool = option(
        False, "Refuse unlabelled documents that also stand in validation or test, instead of leaving them out."
    )
    validation_fraction: float = option(
        0.1, "Share of the training documents cut off for validation, stratified, where no split is given."
    )
    labels_per_class: int = option(
        0,
        "Training documents of a class that are taken at most, drawn by --seed; 0 for all.",
    )
    rest_unlabelled: bool = option(False, "Take the documents that --labels_per_class leaves out as --unlabelled ones.")
    max_documents: int = option(0, "Documents of each split that are taken at most, drawn by --seed; 0 for all.")
    cache_dir: str = option(
        "auto",
        "Folder where tokenized texts are kept for the next run; none keeps nothing. auto: what GRAPHLOSS_CACHE names, "
        "else the user's folder for caches.",
    )

    def __post_init__(self) -> None:
        for name in ("labels_per_class", "max_documents"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.rest_unlabelled and not self.labels_per_class:
            raise InputError("rest_unlabelled needs labels_per_class, which says how many keep their label")

    def token_cache(self, tokenizer: PreTrainedTokenizerBase, say: Callable[[str], None]) -> TokenCache | None:
        """Where token ids are kept; None where they are not to be.

        Args:
            tokenizer: whose ids they are.
            say: told, in one line, where the folder cannot be used.
        """
        if self.cache_dir == "none":
            return None
        folder = usual_cache_folder() if self.cache_dir == "auto" else Path(self.cache_dir)
        return TokenCache(folder, tokenizer, say)

    @property
    def columns(self) -> Columns:
        """The names of the columns of the files."""
        return Columns(self.text_column, self.label_column, self.text_pair_column)


@dataclass
class ModelConfig:
    """The classifier that is trained."""

    encoder: str = option("minilm", "Encoder: minilm, a folder with a saved model, or a name on the hub.")
    head: str = option(
        "stock",
        "Classification head: stock, the architecture's own, which every tool can serve, handed the mean of the tokens "
        "by a layer of the encoder where the graph sees the mean; or linear, the paper's, one layer on the embedding "
        "that the graph sees.",
        ("stock", "linear"),
    )
    head_start: str = option(
        "frozen",
        "Weights that the last layer of the head starts from: frozen, those fitted to the encoder as it was, so that "
        "training starts from its accuracy; or random.",
        ("frozen", "random"),
    )
    head_end: str = option(
        "auto",
        "Weights that the last layer of the head ends with: fitted, to what it reads of the trained encoder, by "
        "logistic regression and linear discriminant analysis, mixed as suits validation documents, and to what the "
        "graph thinks of unlabelled documents, where these like that; or trained, as the last step left them. auto: "
        "fitted with a loss that shapes embeddings, trained with cross-entropy alone and with class weights.",
        ("auto", "fitted", "trained"),
    )
    pooling: str = option(
        "auto",
        "What the graph sees of the last hidden state: first, mean or last token. auto: what the encoder was made "
        "with, last for decoders, else first.",
        ("auto", "first", "mean", "last"),
    )
    max_length: int = option(128, "Texts are cut at this number of tokens.")
    attn_implementation: str | None = option(
        None,
        "Attention of transformers: sdpa (its default), eager, or on CUDA flash_attention_2, with which no padding "
        "is computed at all.",
    )
    dropout: float | None = option(
        None, "Dropout of the encoder and the head while they are trained; as the encoder was made where not given."
    )
    lora_rank: int = option(
        0, "Train low-rank adapters of this rank in every linear layer of the encoder; 0 for all weights."
    )

    def __post_init__(self) -> None:
        if self.dropout is not None and not 0.0 <= self.dropout < 1.0:
            raise InputError(f"dropout must lie in [0, 1), got {self.dropout}")


@dataclass
class GraphConfig:
    """What a run keeps of its training documents, for predictions that ask them, too."""

    index: bool = option(
        True,
        "Keep the training documents in the run: embeddings, words and texts. predict --graph and explain need them.",
    )
    index_size: int = option(0, "Training documents kept at most, drawn at random; 0 for all.")
    coverage: float = option(
        0.9, "Share of the validation documents that predict --graph is to answer; it abstains from the rest."
    )
    record: bool = option(
        True, "Keep what graphloss report draws: where documents lie, before, while and after training."
    )
    floor: bool = option(
        True, "Also fit a linear head on the encoder as it was, the floor that a fine-tuned run is shown beside."
    )

    def __post_init__(self) -> None:
        if self.index_size < 0:
            raise InputError(f"index_size must not be negative, got {self.index_size}")
        if not 0.0 < self.coverage <= 1.0:
            raise InputError(f"coverage must lie above 0 and not above 1, got {self.coverage}")
