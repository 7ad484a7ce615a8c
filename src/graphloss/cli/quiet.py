"""What is printed while work is done."""

import os
import sys


def note(line: str) -> None:
    """A line for the user beside the output of a command."""
    print(line, file=sys.stderr)


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
