"""One HTML file: its data compressed, its script allowed by its hash, and nothing else allowed at all."""

import base64
import gzip
import hashlib
import html
import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

from graphloss.errors import InputError
from graphloss.report.of_run import FinishedRun, view
from graphloss.report.of_several import view_of_several


def write_report(runs: list[Path], output: Path) -> None:
    """Write the page of a run, or of several beside each other.

    Args:
        runs: run directories, finished ones; several are compared with the first.
        output: the HTML file.

    Raises:
        InputError: where a directory holds no finished run, or the file cannot be written.
    """
    read = [FinishedRun(run) for run in runs]
    content = {"run": view(read[0])} if len(read) == 1 else {"several": view_of_several(read)}
    title = read[0].name if len(read) == 1 else f"{len(read)} runs"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = output.with_name(output.name + ".partial")
        partial.write_text(page(title, content), encoding="utf-8")
        partial.replace(output)
    except OSError as error:
        raise InputError(f"{output} cannot be written ({error.strerror or error})") from None


def page(title: str, content: dict[str, Any]) -> str:
    """The page as text.

    Args:
        title: for people.
        content: what the script draws; its texts may be anybody's and stay texts.
    """
    packed = gzip.compress(json.dumps(_finite(content), separators=(",", ":")).encode("utf-8", "replace"), mtime=0)
    script, style = (_asset(name) for name in ("page.js", "page.css"))
    policy = f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
    policy += "base-uri 'none'; form-action 'none'"
    return _asset("page.html").format(
        title=html.escape(title),
        policy=policy,
        style=style,
        script=script,
        data=base64.b64encode(packed).decode(),
    )


def _asset(name: str) -> str:
    return files("graphloss.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _finite(content: Any) -> Any:
    """The same without numbers that JSON does not know."""
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
