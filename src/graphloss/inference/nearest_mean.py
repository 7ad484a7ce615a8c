"""The floor under every fine-tuned classifier: the untouched encoder with the nearest class mean."""

import numpy as np
import torch
from jaxtyping import Float
from transformers import AutoModel

from graphloss.data.documents import Documents, label_ids, label_names
from graphloss.data.tokens import encode
from graphloss.evaluation.metrics import classification_metrics
from graphloss.models.encoder import Encoder
from graphloss.models.forward import batches_by_length
from graphloss.models.pooling import pool


def nearest_mean_scores(
    training: Documents, test: Documents, encoder: Encoder, *, max_length: int
) -> dict[str, float | int]:
    """Scores of the class whose mean of unit embeddings is the most similar one by cosine.

    Args:
        training: documents with labels, of which the means are taken.
        test: documents with labels.
        encoder: as it was published.
        max_length: in tokens, at which texts are cut.

    Returns:
        accuracy, macro_f1 and n, as `classification_metrics`.
    """
    names = label_names(training)
    labels = np.asarray(label_ids(training, names))
    embeddings = embed_untouched(training, encoder, max_length=max_length)
    means = np.stack([embeddings[labels == label].mean(axis=0) for label in range(len(names))])
    similarities = embed_untouched(test, encoder, max_length=max_length) @ means.T / np.linalg.norm(means, axis=1)
    answers = np.eye(len(names))[similarities.argmax(axis=1)]
    scores = classification_metrics(answers, np.asarray(label_ids(test, names)))
    return {name: scores[name] for name in ("accuracy", "macro_f1", "n")}  # such answers have no likelihood


@torch.inference_mode()
def embed_untouched(
    documents: Documents, encoder: Encoder, *, max_length: int, batch_size: int = 64
) -> Float[np.ndarray, "n d"]:
    """Embeddings of n documents by an encoder as it was published, (n, d), of unit length."""
    model = AutoModel.from_pretrained(encoder.location, local_files_only=encoder.local).eval()
    embeddings = torch.empty(len(documents), model.config.hidden_size)
    tokens = encode(documents, encoder.tokenizer, max_length)
    for rows, batch in batches_by_length(tokens, encoder.tokenizer, model.device, batch_size):
        embeddings[rows] = pool(model(**batch)[0], batch["attention_mask"], encoder.pooling)
    return torch.nn.functional.normalize(embeddings).numpy()
