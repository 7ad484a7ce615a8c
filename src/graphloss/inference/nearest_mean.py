"""The floor under every fine-tuned classifier: the untouched encoder with the nearest class mean."""

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import AutoModel

from graphloss.data.documents import Documents
from graphloss.data.tokens import batches_by_length
from graphloss.models.encoder import Encoder
from graphloss.models.pooling import pool


@torch.inference_mode()
def embed_untouched(
    documents: Documents, encoder: Encoder, *, max_length: int, batch_size: int = 64
) -> Float[np.ndarray, "n d"]:
    """Embeddings of n documents by an encoder as it was published, (n, d), of unit length."""
    model = AutoModel.from_pretrained(encoder.location, local_files_only=encoder.local).eval()
    embeddings = torch.empty(len(documents), model.config.hidden_size)
    for rows, batch in batches_by_length(documents, encoder.tokenizer, max_length, batch_size):
        embeddings[rows] = pool(model(**batch)[0], batch["attention_mask"], encoder.pooling)
    return torch.nn.functional.normalize(embeddings).numpy()


def nearest_mean_scores(
    training: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], embeddings: Float[np.ndarray, "m d"]
) -> Float[np.ndarray, "m C"]:
    """Cosine similarity of m embeddings to the mean of each class, (m, C)."""
    means = np.stack([training[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    return embeddings @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
