"""What only a CUDA device shows."""

from pathlib import Path

import pytest
import torch
from transformers.utils import enable_tf32

from graphloss import GLoss
from graphloss.models.parts import Budget
from graphloss.training.hardware import bf16_speedup
from tests.training.test_trainer import make

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_cached_is_plain_with_dropout(precision: str, encoders: dict[str, Path], tmp_path: Path) -> None:
    runs = []
    for micro_batch_size in ("8", "6"):
        trainer = make(
            encoders["bert"], tmp_path, use_cpu=False, precision=precision, micro_batch_size=micro_batch_size,
            max_steps=8, logging_steps=1,
        )  # fmt: skip
        trainer.budget = Budget(tokens=30, overhead=0)
        trainer.train()
        runs.append([entry["loss"] for entry in trainer.state.log_history if "ce_loss" in entry])
    assert runs[1] == pytest.approx(runs[0], rel=1e-4 if precision == "float32" else 1e-2)


def test_auto_fits_and_trains(encoders: dict[str, Path], tmp_path: Path) -> None:
    trainer = make(encoders["bert"], tmp_path, use_cpu=False, precision="auto", micro_batch_size="auto", max_steps=2)
    assert int(trainer.args.micro_batch_size) == 8
    assert trainer.args.precision == ("bf16" if bf16_speedup(trainer.args.device) >= 1.2 else "float32")
    trainer.train()


def test_the_graph_takes_no_part_in_tf32() -> None:
    enable_tf32(True)
    embeddings = torch.randn(96, 64, dtype=torch.float64)
    labels = torch.arange(96) % 4
    results = []
    for leaf in (embeddings, embeddings.float().cuda()):
        leaf = leaf.detach().requires_grad_()
        loss = GLoss(4)(leaf, labels.to(leaf.device))
        loss.backward()
        results.append((loss.detach().cpu().double(), leaf.grad.cpu().double()))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-7)
