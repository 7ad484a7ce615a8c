"""What is printed while work is done."""

import os
import re
import sys

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and newline


def shown(text: str, code: str = "\\x{:02x}") -> str:
    """A text whose control characters, which a terminal would obey, are written out: its author may be a stranger."""
    return CONTROL.sub(lambda found: code.format(ord(found[0])), text)


def note(line: str) -> None:
    """A line for the user beside the output of a command."""
    print(shown(line), file=sys.stderr)


def quiet_libraries() -> None:
    """Keep the bars and notes of transformers and datasets off the terminal; errors remain."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    import datasets
    import huggingface_hub
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    huggingface_hub.logging.set_verbosity_error()
