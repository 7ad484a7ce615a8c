"""graphloss train"""

import errno

from graphloss.cli.arguments import Parser
from graphloss.cli.output import note, quiet_libraries
from graphloss.cli.terminal import Terminal
from graphloss.run import SECTIONS, RunConfig, run_training
from graphloss.systems.run_system import SYSTEMS, run_system
from graphloss.training.checkpoints import NotSaved
from graphloss.training.failures import NonFiniteLoss, OutOfMemory
from graphloss.training.run_directory import RunDirectory

FULL = (errno.ENOSPC, errno.EDQUOT)  # a disk, or what one may take of it


def run(arguments: list[str]) -> int:
    """Train a classifier, write its run directory, and say where everything lies."""
    parser = _parser()
    if "--help_all" not in arguments:
        parser.hide_rare()
    if "--help_all" in arguments:
        parser.print_help()
        return 0
    config_flag, _ = _config_parser().parse_known_args(arguments)
    *configs, flags = parser.parse(arguments, config_flag.config)
    config = RunConfig(*configs)
    first = config.training.process_index == 0  # of those that train together
    console = Terminal(quiet=flags.quiet or not first)
    quiet_libraries()
    directory = config.directory
    if flags.resume and directory.metrics.exists():
        directory.checkpoints.remove()  # where it was killed before it could
        console.print(f"{directory.path} is a finished run", soft_wrap=True)
        return 0
    if flags.system != "encoder":
        metrics = run_system(config, flags.system, overwrite=flags.overwrite, console=console)
        _summarize(directory, metrics, console, flags.system)
        return 0
    try:
        metrics = run_training(config, overwrite=flags.overwrite, resume=flags.resume, console=console)
    except (NonFiniteLoss, OutOfMemory) as error:
        return _stopped(error, directory, 2, first)
    except KeyboardInterrupt as error:
        return _stopped(error, directory, 3 if directory.checkpoints.all() else 1, first)
    except NotSaved as error:
        return _stopped(error, directory, 3 if directory.checkpoints.all() else 2, first)
    except OSError as error:
        if error.errno not in FULL:
            raise
        return _stopped(error, directory, 3 if directory.checkpoints.all() else 2, first)
    if first:
        _summarize(directory, metrics, console)
    return 0


def _parser() -> Parser:
    parser = Parser(
        "train",
        SECTIONS,
        description="Train a classifier on labelled texts. Every option can also stand in the YAML file of --config.",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file of options; those of the command line go before it."
    )
    parser.add_argument(
        "--system",
        default="encoder",
        choices=("encoder", *SYSTEMS),
        metavar="SYSTEM",
        help=f"A whole system to compare with, instead of an encoder with a head: {', '.join(SYSTEMS)}.",
    )
    parser.add_argument("--resume", action="store_true", help="Go on from the last checkpoint in --output_dir.")
    parser.add_argument("--overwrite", action="store_true", help="Replace a run in --output_dir.")
    parser.add_argument("--quiet", action="store_true", help="Print nothing but errors.")
    parser.add_argument("--help_all", action="store_true", help="Every option, those of transformers included.")
    return parser


def _config_parser() -> Parser:
    parser = Parser("train", add_help=False)
    parser.add_argument("--config")
    return parser


def _stopped(error: BaseException, directory: RunDirectory, status: int, first: bool) -> int:
    """Say why a run ended before its time, and what is left of it, once for all processes; gives the exit status."""
    why = " ".join(str(error).split()) or "interrupted"
    kept = directory.checkpoints.all()
    rest = f"the last checkpoint is {kept[0]}, to go on from with --resume" if kept else "no checkpoint yet"
    if first:
        note(f"graphloss train: {why}; {rest}")
    return status


def _summarize(directory: RunDirectory, metrics: dict, console: Terminal, predictor: str = "head") -> None:
    sets = {predictor: metrics, "with the graph": metrics.get("graph"), "floor": metrics.get("floor")}
    for split in (split for split in ("validation", "test") if split in metrics):
        for name, scores in sets.items():
            if scores is not None:
                line = f"accuracy {scores[split]['accuracy']:.4f}, macro-F1 {scores[split]['macro_f1']:.4f}"
                console.print(f"{split}, {name}: {line}, {scores[split]['n']} documents")
    if "graph_loss_weight" in metrics:
        mean, last = (metrics["graph_loss_weight"][name] for name in ("mean", "last"))
        console.print(f"the graph loss had weight {mean:.2f} on average and {last:.2f} at the end, by its skill")
    if "graph" in metrics and metrics["graph"]["weight"] == 0.0:
        console.print("the graph has weight 0 in predictions: on validation documents it did not help the head")
    if "floor" in metrics and metrics["validation"]["accuracy"] < metrics["floor"]["validation"]["accuracy"]:
        console.print(
            f"on {metrics['validation']['n']} validation documents training ended below the encoder as it was, which "
            "--setup frozen keeps; unless that is chance, more labels or epochs, or another learning rate, may do "
            "better"
        )
    for path, purpose in (
        (directory.model, "the model, for graphloss, transformers and sentence-transformers"),
        (directory.index, "the training documents, for predict --graph and explain"),
        (directory.metrics, "scores"),
        (directory.predictions, "predictions for the validation and test documents"),
        (directory.history, "losses and scores by step"),
        (directory.record, "what graphloss report draws"),
        (directory.config, "settings, to repeat the run with train --config"),
        (directory.environment, "versions and hardware"),
    ):
        if path.exists():
            console.print(f"  {path}  {purpose}", soft_wrap=True)
