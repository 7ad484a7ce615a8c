"""From documents to a run directory."""

from graphloss.run.config import RunConfig
from graphloss.run.encoder_run import run_training

__all__ = ["RunConfig", "run_training"]
