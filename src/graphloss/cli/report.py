"""graphloss report"""

from pathlib import Path

from graphloss.cli.arguments import Parser
from graphloss.cli.output import quiet_libraries
from graphloss.cli.terminal import Terminal
from graphloss.report import write_report


def run(arguments: list[str]) -> int:
    """Write the page of one run, or of several beside each other."""
    (flags,) = _parser().parse(arguments)
    quiet_libraries()
    write_report([Path(path) for path in flags.runs], Path(flags.output))
    Terminal(quiet=flags.quiet).print(f"{flags.output}", soft_wrap=True)
    return 0


def _parser() -> Parser:
    parser = Parser(
        "report",
        description="Write a page of a run, or of several beside the first: one HTML file that works offline.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="Run directories of graphloss train.")
    parser.add_argument("--output", default="report.html", help="The HTML file.")
    parser.add_argument("--quiet", action="store_true", help="Print nothing but errors.")
    return parser
