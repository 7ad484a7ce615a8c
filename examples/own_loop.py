"""The graph loss in a bare PyTorch loop: real texts, any encoder, no trainer. Run `python examples/own_loop.py`."""

import torch
from transformers import AutoModel, AutoTokenizer

from graphloss import GLoss
from graphloss.data.docstrings import docstring_splits
from graphloss.models.encoder import load_encoder


def train(texts: list[str], labels: list[str], encoder: str, epochs: int) -> list[float]:
    """Fine-tune the first token's state by the graph loss alone; returns the loss of each step."""
    classes = torch.tensor([sorted(set(labels)).index(label) for label in labels])
    tokenizer, model = AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder)
    graph_loss = GLoss(num_labels=len(set(labels)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    losses = []
    for _ in range(epochs):
        for rows in torch.randperm(len(texts)).split(64):
            tokens = tokenizer([texts[row] for row in rows], padding=True, truncation=True, return_tensors="pt")
            loss = graph_loss(model(**tokens).last_hidden_state[:, 0], classes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


if __name__ == "__main__":
    torch.manual_seed(0)
    documents = docstring_splits(classes=8, training=32, validation=1, test=1).train
    losses = train(
        [text[:200] for text in documents.texts], documents.labels, load_encoder("minilm").location, epochs=5
    )
    print(f"graph loss {losses[0]:.3f} at the first step, {losses[-1]:.3f} at the last")
