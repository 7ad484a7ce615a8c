"""What other libraries print while they work."""

import os


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
