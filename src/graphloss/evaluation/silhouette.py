"""How far apart the classes lie in the embeddings."""

import numpy as np
from jaxtyping import Float, Int

SAMPLE = 2_000


def macro_silhouette(embeddings: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], *, seed: int = 0) -> float:
    """The mean over the classes of the mean silhouette of their documents, by Euclidean distance of unit rows.

    Args:
        embeddings: (n, d) float, any length.
        labels: (n,) int64; documents below 0 have none and are left out.
        seed: draws 2,000 of the documents where there are more.

    Returns:
        From -1 to 1; NaN where the documents are of fewer than two classes or each of a class of its own.

    Source: Rousseeuw (1987); its mean over classes is what the paper stops standalone training on.
    """
    from sklearn.metrics import silhouette_samples  # when first asked for: training should not wait for it

    rows = np.flatnonzero(labels >= 0)
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(seed).choice(rows, SAMPLE, replace=False))
    classes = np.unique(labels[rows])
    if not 1 < len(classes) < len(rows):
        return float("nan")
    lengths = np.linalg.norm(embeddings[rows], axis=1, keepdims=True)
    silhouettes = silhouette_samples(embeddings[rows] / np.maximum(lengths, np.finfo(np.float32).tiny), labels[rows])
    return float(np.mean([silhouettes[labels[rows] == each].mean() for each in classes]))
