"""All settings of a run in one place."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from graphloss.errors import InputError
from graphloss.training.config import DataConfig, GLossConfig, GraphConfig, ModelConfig, TrainingConfig
from graphloss.training.run_directory import RunDirectory


@dataclass
class RunConfig:
    """All settings of a run."""

    data: DataConfig
    model: ModelConfig
    gloss: GLossConfig
    graph: GraphConfig
    training: TrainingConfig

    @property
    def directory(self) -> RunDirectory:
        """Where the run goes.

        Raises:
            InputError: where none was named.
        """
        if self.training.output_dir is None or "output_dir" in self.training.left_open:
            raise InputError("--output_dir is missing; name the folder for the run")
        return RunDirectory(Path(self.training.output_dir))

    def to_dict(self) -> dict[str, Any]:
        """Flat, by name: all fields of our own, and those of `TrainingArguments` that differ from the defaults."""
        settings = asdict(self.data) | asdict(self.model) | asdict(self.gloss) | asdict(self.graph)
        shown = {*TrainingConfig.__annotations__, "learning_rate", "seed"} - self.training.left_open
        for field in fields(TrainingConfig):
            if field.name in ("bf16", "fp16"):
                continue  # `precision` says it
            value = getattr(self.training, field.name)
            if field.name in shown or (field.name not in self.training.left_open and value != field.default):
                settings[field.name] = getattr(value, "value", value)
        return settings
