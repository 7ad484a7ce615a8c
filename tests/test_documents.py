"""What the documents say is what the project does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LAUNCHERS = (  # torchrun, accelerate and sbatch
    "--nproc_per_node --nnodes --node_rank --master_addr --master_port --rdzv_backend --rdzv_id --rdzv_endpoint "
    "--num_processes --config_file --nodes --ntasks --gpus --cpus --time --signal --requeue --open"
)


def test_the_tables_are_those_of_the_results() -> None:
    subprocess.run([sys.executable, str(ROOT / "benchmarks" / "tables.py"), "--check"], check=True)


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert len([line for line in program.splitlines() if line]) <= 10
    torch.manual_seed(0)
    exec(compile(program, "README.md", "exec"), {})
    assert "graph_loss" in capsys.readouterr().out


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_and_flag_named_exists(path: Path) -> None:
    text = path.read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (path.parent / target).exists(), target
    for name in re.findall(r"(?:tests|benchmarks)/[\w/]+\.py", text):
        assert (ROOT / name).exists(), name


def test_the_functions_that_the_pages_name_exist() -> None:
    from importlib import import_module

    text = "".join((ROOT / "docs" / page).read_text() for page in ("paper.md", "how-it-works.md"))
    for module, member in re.findall(r"`((?:graph|training)\.\w+)\.(\w+)`", text):
        assert hasattr(import_module(f"graphloss.{module}"), member), (module, member)


def test_the_tests_that_the_mathematics_is_linked_to_exist() -> None:
    text = (ROOT / "docs" / "how-it-works.md").read_text().split("## Sources")[0]
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", text)
    assert len(named) > 10
    for name in named:
        assert re.search(rf"def test_\w*{re.sub(r'[^a-z0-9]+', '_', name.lower())}", tests), name


def test_flags_in_the_documents_exist(capsys: pytest.CaptureFixture[str]) -> None:
    from graphloss.cli.main import VERBS, main

    known = {"--check", "--help", "--version", *LAUNCHERS.split()}
    for path in (ROOT / "benchmarks").glob("*.py"):
        known |= set(re.findall(r'add_argument\("(--\w+)"', path.read_text()))
    for verb in VERBS:
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        known |= set(re.findall(r"--\w+", capsys.readouterr().out))
    for path in DOCUMENTS:
        used = set(re.findall(r"(?<![\w-])--[a-z]\w+", path.read_text()))
        assert used <= known, path.name
