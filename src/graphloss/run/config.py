"""All settings of a run in one place."""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from graphloss.errors import InputError
from graphloss.losses.config import GLossConfig, MetricConfig
from graphloss.run.sections import DataConfig, GraphConfig, ModelConfig
from graphloss.training.config import TrainingConfig
from graphloss.training.run_directory import RunDirectory, describe_environment, write_json, write_yaml

NEVER_EMPTY = (str, bool, int, float)
SINGLE = (*NEVER_EMPTY, *(kind | None for kind in NEVER_EMPTY))
SECTIONS: tuple[type, ...] = (DataConfig, ModelConfig, GLossConfig, MetricConfig, GraphConfig, TrainingConfig)


@dataclass
class RunConfig:
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    gloss: GLossConfig = field(default_factory=GLossConfig)
    metric: MetricConfig = field(default_factory=MetricConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        """Refuse what YAML can hold and a flag cannot.

        Raises:
            InputError: for a value that should be a text and is none, and for several where one is due.
        """
        for section in (self.data, self.model, self.gloss, self.metric, self.graph, self.training):
            for name, kind in get_type_hints(type(section)).items():  # the parser of the flags changes those of fields
                value = getattr(section, name, None)
                if isinstance(value, list | dict) and kind in SINGLE:
                    raise InputError(f"{name} must be a single value, got {value!r}")
                if value is None and kind in NEVER_EMPTY:
                    raise InputError(f"{name} must not be empty")
                if name not in type(section).__annotations__:
                    continue  # transformers turns some texts of its own into other things
                if kind in (str, str | None) and not isinstance(value, str | None):
                    raise InputError(f"{name} must be a text, got {value!r}")

    @classmethod
    def of(cls, settings: dict[str, Any]) -> "RunConfig":
        """From settings by the names of their flags, all else at its default.

        Raises:
            InputError: for names that no flag has, and for values that are refused.
        """
        left = dict(settings)
        sections = []
        for kind in SECTIONS:
            names = {each.name for each in fields(kind) if each.init}
            given = {name: left.pop(name) for name in list(left) if name in names}
            try:
                sections.append(kind(**given))
            except InputError:
                raise
            except Exception as error:  # transformers refuses its fields in any way
                raise InputError(f"settings: {' '.join(str(error).split()) or type(error).__name__}") from error
        if left:
            raise InputError(f"settings: unknown {', '.join(map(repr, left))}; the names are those of the flags")
        return cls(*sections)

    @property
    def directory(self) -> RunDirectory:
        """Where the run goes.

        Raises:
            InputError: where none was named.
        """
        if self.training.output_dir is None or "output_dir" in self.training.left_open:
            raise InputError("--output_dir is missing; name the folder for the run")
        return RunDirectory(Path(self.training.output_dir))

    @property
    def ends_fitted(self) -> bool:
        """Whether the last layer of the head is fitted to the encoder as it was trained."""
        training, wanted = self.training, self.model.head_end
        if training.setup != "integrated":
            return training.setup == "standalone" and training.probe == "fitted"
        weighted = training.class_weights != "none"  # which the fit knows nothing of
        return wanted == "fitted" or (wanted == "auto" and training.loss != "ce" and not weighted)

    def open(self, *, overwrite: bool, **more: Any) -> None:
        """Write the settings, and what more is to stand there, into the run directory.

        Args:
            overwrite: remove a run that is there first.
            more: settings that are not fields here.
        """
        if overwrite:
            self.directory.clear()
        self.directory.path.mkdir(parents=True, exist_ok=True)
        write_yaml(self.directory.config, more | self.to_dict())
        environment = describe_environment(self.training.seed, str(self.training.device))
        write_json(self.directory.environment, environment)

    def to_dict(self) -> dict[str, Any]:
        """Flat, by name: all fields of our own, and those of `TrainingArguments` that differ from the defaults."""
        settings: dict[str, Any] = {}
        for section in (self.data, self.model, self.gloss, self.metric, self.graph):
            settings |= asdict(section)
        shown = {*TrainingConfig.__annotations__, "learning_rate", "seed"} - self.training.left_open
        for each in fields(TrainingConfig):
            if each.name in ("bf16", "fp16"):
                continue  # `precision` says it
            value = getattr(self.training, each.name)
            if each.name in shown or (each.name not in self.training.left_open and value != each.default):
                settings[each.name] = getattr(value, "value", value)
        return settings
