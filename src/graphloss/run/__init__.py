"""From documents to a run directory."""

from graphloss.run.config import SECTIONS, RunConfig
from graphloss.run.encoder_run import run_training

__all__ = ["SECTIONS", "RunConfig", "run_training"]
