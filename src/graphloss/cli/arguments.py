"""Flags and YAML to the dataclasses that define them."""

import dataclasses
from argparse import SUPPRESS, ArgumentTypeError, HelpFormatter
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser, TrainingArguments

from graphloss.errors import InputError

# Fields of TrainingArguments that people use; `--help` shows these beside our own, `--help_all` shows every one.
COMMON = (
    "output_dir",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "num_train_epochs",
    "max_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "gradient_accumulation_steps",
    "optim",
    "tf32",
    "activation_checkpointing",
    "torch_compile",
    "logging_steps",
    "save_strategy",
    "save_steps",
    "save_total_limit",
    "eval_strategy",
    "eval_steps",
    "seed",
    "dataloader_num_workers",
    "use_cpu",
    "report_to",
    "run_name",
)


class Parser(HfArgumentParser):
    """A parser whose mistakes are one line each.

    Args:
        verb: for the usage line.
        dataclass_types: whose fields become flags.
    """

    def __init__(self, verb: str, dataclass_types: tuple[type, ...] = (), **others: Any) -> None:
        super().__init__(
            dataclass_types,  # type: ignore[arg-type]
            prog=f"graphloss {verb}",
            allow_abbrev=False,
            formatter_class=_Formatter,
            **others,
        )

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")

    def hide_rare(self) -> None:
        """Leave out of the help what few people use."""
        rare = {field.name for field in dataclasses.fields(TrainingArguments)} - set(COMMON)
        for action in self._actions:
            if action.dest in rare or action.option_strings[0].startswith("--no_"):
                action.help = SUPPRESS

    def parse(self, arguments: list[str], config: str | None = None) -> tuple[Any, ...]:
        """Dataclasses from flags over a YAML file over the defaults, then a namespace of what other flags there are.

        Args:
            arguments: the flags.
            config: a YAML file, one `name: value` a field.

        Raises:
            InputError: for unknown flags or fields and for values that are refused.
        """
        if config is not None:
            self.set_defaults(**self._read(config))
        self._check_known(arguments)
        try:
            return self.parse_args_into_dataclasses(arguments, look_for_args_file=False)
        except InputError:
            raise
        except Exception as error:  # transformers refuses its fields in any way
            raise InputError(" ".join(str(error).split()) or type(error).__name__) from error

    def _check_known(self, arguments: list[str]) -> None:
        _, unknown = self.parse_known_args(arguments)
        if unknown:
            self.error(f"unknown: {' '.join(unknown)}")

    def _read(self, config: str) -> dict[str, Any]:
        path = Path(config)
        if not path.is_file():
            raise InputError(f"--config {config} is not a file")
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{config} is not YAML: {' '.join(str(error).split())}") from None
        if not isinstance(values, dict):
            raise InputError(f"{config} must hold one `name: value` a line")
        actions = {action.dest: action for action in self._actions}
        unknown = [str(name) for name in values if name not in actions]
        if unknown:
            raise InputError(f"{config}: unknown {', '.join(unknown)}; the names are those of the flags")
        return {name: self._converted(actions[name], value, config) for name, value in values.items()}

    def _converted(self, action: Any, value: Any, config: str) -> Any:
        if isinstance(value, bool) and isinstance(action.type, type):
            value = "yes" if value else "no"  # YAML reads `save_strategy: no` as a boolean
        if value is None or action.type is None or isinstance(value, list | dict | bool):
            return value
        try:
            converted = action.type(str(value))
        except (ValueError, TypeError, ArgumentTypeError):
            raise InputError(f"{config}: {action.dest} cannot be {value!r}") from None
        if action.choices and converted not in action.choices:
            raise InputError(
                f"{config}: {action.dest} must be one of {', '.join(map(str, action.choices))}, got {value!r}"
            )
        return converted


def add_reading(parser: Parser) -> None:
    """The flags of how documents are embedded."""
    parser.add_argument("--batch_size", type=int, default=64, help="Texts embedded at once.")
    parser.add_argument(
        "--stride",
        type=int,
        help="Read long texts whole: in windows that share this many tokens, whose answers are averaged.",
    )


class _Formatter(HelpFormatter):
    """Two columns, defaults at the end, percent signs as they are."""

    def __init__(self, prog: str, **others: Any) -> None:
        super().__init__(prog, max_help_position=36, width=110)

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any) -> str:
        places = " ".join(str(action.metavar) for action in actions if not action.option_strings)
        return f"usage: {self._prog} {places + ' ' if places else ''}[options]\n\n"

    def _format_action_invocation(self, action: Any) -> str:
        if not action.option_strings:
            return str(action.metavar)
        name = next((option for option in action.option_strings if "_" in option), action.option_strings[-1])
        return name if action.nargs in (0, "?") else f"{name} {self._value(action)}"

    def _value(self, action: Any) -> str:
        if action.choices and len(action.choices) < 5:
            return "|".join(map(str, action.choices))
        return action.metavar or action.dest.split("_")[-1].upper()

    def _expand_help(self, action: Any) -> str:
        text = " ".join((action.help or "").split())
        default = getattr(action.default, "value", action.default)
        return text if default in (None, SUPPRESS, False, "") else f"{text} [{default}]"
