"""Two processes, started as torchrun does."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os
from graphloss import TrainingConfig
from graphloss.training import hardware
rank = int(os.environ["RANK"])
hardware.bf16_speedup = lambda device: 2.0 - 1.5 * rank
args = TrainingConfig(output_dir="unused", use_cpu=True)
args.settle_precision(print)
print(f"rank {rank} of {args.world_size}: {args.precision} {args.mixed_precision}", flush=True)
"""


@pytest.mark.slow
def test_all_processes_keep_what_the_first_decides(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["rank 0 of 2: bf16 bf16", "rank 1 of 2: bf16 bf16"]
