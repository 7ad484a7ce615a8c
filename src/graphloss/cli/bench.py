"""graphloss bench"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from graphloss.cli.arguments import Parser
from graphloss.cli.output import quiet_libraries
from graphloss.cli.terminal import Terminal
from graphloss.experiments.bench import Bench
from graphloss.experiments.cost import at_most, machine_rate
from graphloss.experiments.plan import read_plan
from graphloss.experiments.tables import Tables


def run(arguments: list[str]) -> int:
    """List the runs of a plan, say what is done, or do the rest."""
    (flags,) = _parser().parse(arguments)
    console = Terminal(soft_wrap=True)
    bench = Bench(Path(flags.output_dir), read_plan(Path(flags.plan)))
    if flags.dry_run:
        _list_costs(bench, console)
        return 0
    if flags.status:
        _list_states(bench, console)
        if bench.folder.exists():
            _write_tables(bench, flags.against, console)
        return 0
    quiet_libraries()
    failures = bench.carry_out(console.print)
    _write_tables(bench, flags.against, console)
    _list_states(bench, console, only=("failed", "not run", "running"))
    return 2 if failures else 0


def _write_tables(bench: Bench, against: str | None, console: Terminal) -> None:
    Tables(bench, against).write(bench.folder)
    console.print(f"{bench.folder / 'tables.md'}, tables.csv  what the finished runs say together")


def _list_costs(bench: Bench, console: Terminal) -> None:
    rate, known, unknown = machine_rate(), 0.0, 0
    for planned in bench.runs:
        seconds, trials = at_most(planned, rate), bench.trials(planned)
        of_trial = at_most(replace(planned, settings=planned.searched), rate, is_trial=True) if trials else 0.0
        seconds = None if seconds is None or of_trial is None else seconds + trials * of_trial
        known, unknown = known + (seconds or 0.0), unknown + (seconds is None)
        search = f", with {trials} trials" if trials else ""
        console.print(f"{planned.name}  {'?' if seconds is None else f'at most {seconds / 60.0:,.0f} min'}{search}")
    console.print(f"{len(bench.runs)} runs: at most {known / 3600.0:,.1f} h here, and {unknown} of unknown cost")


def _list_states(bench: Bench, console: Terminal, only: tuple[str, ...] = ()) -> None:
    states = {planned.name: bench.state(planned) for planned in bench.runs}
    for name, state in states.items():
        if not only or state.startswith(only):
            console.print(f"{name}  {state}")
    counts = Counter(state.partition(":")[0] for state in states.values())
    console.print(", ".join(f"{count} {state}" for state, count in counts.items()))


def _parser() -> Parser:
    parser = Parser(
        "bench",
        description="Carry out a plan of runs. A run that is done is not done again; one that broke off goes on; "
        "several processes may share the folder.",
    )
    parser.add_argument(
        "plan",
        metavar="PLAN.yaml",
        help="`grids:`, a list; each has flags of graphloss train, and `system`, `trials`, `search`, "
        "`search_with`, `method` and `table`; a list of values is a dimension.",
    )
    parser.add_argument("--output_dir", required=True, help="Folder of the runs.")
    parser.add_argument(
        "--against",
        metavar="METHOD",
        help="Method, as the tables name it, that others are tested against; cross-entropy.",
    )
    parser.add_argument("--dry_run", action="store_true", help="List the runs and what they may cost.")
    parser.add_argument("--status", action="store_true", help="Say what is done, and write the tables of it.")
    return parser
