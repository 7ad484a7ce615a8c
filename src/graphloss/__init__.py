"""Fine-tune text encoders with a loss that looks at the minibatch as a graph."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphloss import graph
    from graphloss.integrations.scikit_learn import TextClassifier
    from graphloss.losses.config import GLossConfig
    from graphloss.losses.gloss import GLoss
    from graphloss.training.config import TrainingConfig
    from graphloss.training.trainer import GraphLossTrainer

__all__ = ["GLoss", "GLossConfig", "GraphLossTrainer", "TextClassifier", "TrainingConfig", "graph"]

# Imported when first asked for: `graphloss --help` must not wait for torch.
_HOMES = {
    "GLoss": "graphloss.losses.gloss",
    "GLossConfig": "graphloss.losses.config",
    "GraphLossTrainer": "graphloss.training.trainer",
    "TextClassifier": "graphloss.integrations.scikit_learn",
    "TrainingConfig": "graphloss.training.config",
}


def __getattr__(name: str) -> Any:
    if name == "graph":
        return import_module("graphloss.graph")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'graphloss' has no attribute {name!r}")
