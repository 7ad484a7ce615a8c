"""graphloss tune"""

import json

from graphloss.cli.arguments import Parser
from graphloss.cli.output import quiet_libraries
from graphloss.cli.terminal import Terminal
from graphloss.errors import InputError
from graphloss.experiments.space import Space, check_space, paper_space, read_space
from graphloss.experiments.tune import Tuning
from graphloss.run import SECTIONS, RunConfig


def run(arguments: list[str]) -> int:
    """Search settings by validation score, and keep the best run."""
    *configs, flags = _parser().parse(arguments)
    config = RunConfig(*configs)
    folder = config.directory.path
    if config.training.setup == "frozen":
        raise InputError("--setup frozen has nothing to search; give integrated or standalone")
    if flags.trials < 1:
        raise InputError(f"--trials must be above 0, got {flags.trials}")
    settings = config.to_dict()
    space = read_space(flags.search) if flags.search else _left_open(config, arguments)
    check_space(space, settings)
    console = Terminal(quiet=flags.quiet, soft_wrap=True)
    quiet_libraries()
    say = console.print
    tuning = Tuning(folder, settings, space, flags.trials, flags.storage, config.training.seed, say)
    found = tuning.run()
    say(f"best: trial {found['trial']} of {found['trials']}, in {found['seconds']:.0f} s of all trials together")
    for name, value in found["settings"].items():
        weight = found["importances"].get(name)
        say(f"  {name} {value}" + ("" if weight is None else f"  importance {weight:.2f}"))
    metrics = json.loads((folder / "best" / "metrics.json").read_text())
    for split in (split for split in ("validation", "test") if split in metrics):
        say(f"{split}: accuracy {metrics[split]['accuracy']:.4f}, macro-F1 {metrics[split]['macro_f1']:.4f}")
    say(f"  {found['run']}  the best run, for predict, explain and evaluate")
    return 0


def _left_open(config: RunConfig, arguments: list[str]) -> Space:
    """The paper's space but for what was given as a flag: with --bandwidth sqrt it is that of G-Loss-SQRT."""
    given = {argument.removeprefix("--").partition("=")[0] for argument in arguments if argument.startswith("--")}
    space = paper_space(config.training.loss, config.training.setup)
    return {name: values for name, values in space.items() if name not in given}


def _parser() -> Parser:
    parser = Parser(
        "tune",
        SECTIONS,
        description="Search settings by the score of the validation documents (G-Loss-O, and the same for every loss). "
        "Options of graphloss train hold for all trials. Start it again, anywhere, for another worker.",
    )
    parser.add_argument("--trials", type=int, default=15, help="Trials of all workers together.")
    parser.add_argument(
        "--search",
        action="append",
        default=[],
        metavar="SPACE",
        help="What is searched, once for each option: NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A,B,C. Where not "
        "given, the paper's space less the flags that are given: --bandwidth sqrt makes it G-Loss-SQRT.",
    )
    parser.add_argument("--storage", help="URL of a database for the study; a journal in --output_dir if not given.")
    parser.add_argument("--quiet", action="store_true", help="Print nothing but errors.")
    parser.hide_rare()
    return parser
