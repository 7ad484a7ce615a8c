"""For mkdocs: files of the project that pages link to become pages of the site."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml"}


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each example, each plan, and what stands beside the README."""
    for path in _linked():
        files.append(File.generated(config, _page(path), content=_as_page(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let links out of the folder of the documents lead to these pages."""
    for path in _linked():
        outside = path.relative_to(ROOT).as_posix()
        written = f"]({outside})" if page.file.src_uri.startswith("project/") else f"](../{outside})"
        markdown = markdown.replace(written, f"]({'../' * page.file.src_uri.count('/')}{_page(path)})")
    return markdown


def _linked() -> list[Path]:
    found = (*ROOT.glob("examples/*.py"), *ROOT.glob("plans/*.yaml"), *ROOT.glob("*.md"))
    return [path for path in found if path.name != "README.md"]


def _page(path: Path) -> str:
    return f"project/{path.stem}.md"


def _as_page(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text()
    return f"# {path.relative_to(ROOT).as_posix()}\n\n```{LANGUAGES[path.suffix]}\n{path.read_text()}```\n"
