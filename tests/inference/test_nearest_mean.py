from pathlib import Path

import numpy as np

from graphloss.data.documents import Documents
from graphloss.inference.nearest_mean import embed_untouched, nearest_mean_scores
from graphloss.models.encoder import load_encoder
from tests.conftest import sentences


def test_documents_are_nearest_to_the_mean_of_their_own_class(encoders: dict[str, Path]) -> None:
    encoder = load_encoder(str(encoders["bert"]))
    texts = ["goal match", "soup bread", "moon star"]
    training = Documents(texts, ["sports", "food", "space"])
    scores = nearest_mean_scores(training, training, encoder, max_length=16)
    assert scores == {"accuracy": 1.0, "macro_f1": 1.0, "n": 3}


def test_embeddings_come_back_in_their_order_and_of_unit_length(encoders: dict[str, Path]) -> None:
    encoder = load_encoder(str(encoders["bert"]))
    texts, _ = sentences(9)
    together = embed_untouched(Documents(texts), encoder, max_length=32, batch_size=4)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, rtol=1e-5)
    for row, text in enumerate(texts):
        alone = embed_untouched(Documents([text]), encoder, max_length=32)
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-4, atol=1e-5)
