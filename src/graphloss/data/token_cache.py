"""Token ids on disk, so that the same texts are tokenized once."""

import hashlib
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow
import pyarrow.parquet
import tokenizers
import transformers
from transformers import PreTrainedTokenizerBase

from graphloss.data.documents import Documents

CACHE_VARIABLE = "GRAPHLOSS_CACHE"
LARGEST = 2_000_000_000  # bytes: beyond, the entries go that were not used for longest


@dataclass(frozen=True)
class TokenCache:
    """A folder of tables of token ids, one file a set of texts and a tokenizer.

    Attributes:
        folder: where they lie; made when first needed.
        tokenizer: whose ids they are; not to be changed afterwards.
        say: told, in one line, where the folder cannot be used or an entry is broken.
    """

    folder: Path
    tokenizer: PreTrainedTokenizerBase
    say: Callable[[str], None]

    def key(self, documents: Documents, max_length: int) -> str:
        """What the token ids depend on: the texts, the tokenizer, the length they are cut at, the libraries."""
        digest = hashlib.sha256()
        header = json.dumps([self._state, max_length, len(documents)])
        for text in itertools.chain([header], documents.texts, documents.text_pairs or []):
            content = text.encode("utf-8", "surrogatepass")
            digest.update(len(content).to_bytes(8, "little"))
            digest.update(content)
        return digest.hexdigest()

    def read(self, key: str, rows: int) -> pyarrow.Table | None:
        """The table under a key, or None where there is none that is whole and has that many rows."""
        path = self._path(key)
        try:
            table = pyarrow.parquet.read_table(path, page_checksum_verification=True, memory_map=False)
            if table.num_rows != rows:
                raise pyarrow.ArrowInvalid(f"{table.num_rows} rows where {rows} are due")
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, pyarrow.ArrowException) as error:
            if isinstance(error, PermissionError):
                return None
            self.say(f"note: {path} in the token cache is broken; tokenizing again")
            return None
        return table

    def write(self, key: str, table: pyarrow.Table) -> None:
        """Keep a table under a key; where that cannot be done, say so."""
        path = self._path(key)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            pyarrow.parquet.write_table(table, partial, write_page_checksum=True)
            partial.replace(path)
            self._forget_the_oldest()
        except OSError as error:
            self.say(f"note: tokens are not kept, {self.folder} cannot be written ({error.strerror or error})")

    @cached_property
    def _state(self) -> str:
        """All that the tokenizer is, but for how it was last told to cut and pad."""
        tokenizer, versions = self.tokenizer, [transformers.__version__, tokenizers.__version__]
        header = [versions, type(tokenizer).__name__, tokenizer.model_input_names, tokenizer.truncation_side]
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            return json.dumps([header, tokenizer.get_vocab(), str(tokenizer.special_tokens_map)], sort_keys=True)
        state = json.loads(backend.to_str())
        return json.dumps([header, {name: state[name] for name in state if name not in ("truncation", "padding")}])

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.parquet"

    def _forget_the_oldest(self) -> None:
        newest = sorted(self.folder.glob("*.parquet"), key=lambda path: path.stat().st_mtime, reverse=True)
        total = 0
        for path in newest:
            total += path.stat().st_size
            if total > LARGEST and path != newest[0]:
                path.unlink(missing_ok=True)


def usual_cache_folder() -> Path:
    """The folder that the variable GRAPHLOSS_CACHE names, else the user's folder for caches."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "graphloss"
