"""Many runs in one process."""

import gc
from pathlib import Path

from graphloss.run import RunConfig, run_training
from graphloss.run.workspace import Workspace
from graphloss.training.trainer import GraphLossTrainer


def alive() -> list[object]:
    gc.collect()
    return [each for each in gc.get_objects() if type(each) in (Workspace, GraphLossTrainer)]


def test_a_run_lets_go_of_its_documents_and_weights(encoders: dict[str, Path], data: Path, tmp_path: Path) -> None:
    settings = {"data": str(data), "encoder": str(encoders["bert"]), "use_cpu": True, "max_length": 16, "max_steps": 2}
    before = {id(each) for each in alive()}  # of other tests
    run_training(RunConfig.of(settings | {"output_dir": str(tmp_path / "run")}))
    assert [each for each in alive() if id(each) not in before] == []
