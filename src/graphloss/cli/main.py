"""The command line: picks the verb, and imports what it needs only then."""

import errno
import sys
from importlib import import_module

from graphloss.cli.output import note

VERBS = {
    "train": "train a classifier on labelled texts and score it",
    "evaluate": "score a trained classifier on labelled texts",
    "predict": "label the texts of a file with a trained classifier",
    "explain": "show the training documents whose labels a text received, and their shares",
    "audit": "rank labelled texts by how strongly their neighbours contradict the label",
    "tune": "search settings by validation score, with any number of workers",
    "bench": "carry out a plan of many runs, in any number of processes, and go on where it broke off",
    "report": "write a page of a run, or of several beside each other, to open in a browser",
    "demo": "see a frozen encoder, cross-entropy and G-Loss side by side, in minutes, with no download",
}
OF_A_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS)
USAGE = """usage: graphloss VERB [options]

Fine-tune text encoders with a loss that looks at the batch as a graph.

{verbs}

graphloss VERB --help tells the options of a verb.
Exit status: 0 done, 2 wrong input or usage, 3 interrupted with a checkpoint, 1 a fault of graphloss."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    usage = USAGE.format(verbs="\n".join(f"  {verb:<10} {purpose}" for verb, purpose in VERBS.items()))
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("graphloss"))
        return 0
    verb = arguments[0]
    if verb not in VERBS:
        note(f"graphloss: no verb {verb!r}; it is one of {', '.join(VERBS)}")
        return 2
    return _run(verb, arguments[1:])


def _run(verb: str, arguments: list[str]) -> int:
    from graphloss.errors import InputError

    try:
        module = import_module(f"graphloss.cli.{verb}")
        return module.run(arguments)
    except InputError as error:
        note(f"graphloss {verb}: {error}")
        return 2
    except OSError as error:
        if error.filename is None or error.errno not in OF_A_PATH:
            raise
        note(f"graphloss {verb}: {error.filename}: {error.strerror}; name another path")
        return 2
    except KeyboardInterrupt:
        note(f"graphloss {verb}: interrupted")
        return 3
