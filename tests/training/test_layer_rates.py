"""Learning rates by layer."""

from pathlib import Path

import pytest
import torch

from graphloss.errors import InputError
from graphloss.models.pooling import encoder_of
from tests.training.test_trainer import ARCHITECTURES, make

RATE, DECAY = 1e-3, 0.5


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("head", ["stock", "linear"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_layer_has_a_share_of_the_rate_above_it(
    name: str, head: str, lora: bool, encoders: dict[str, Path], tmp_path: Path
) -> None:
    trainer = make(
        encoders[name], tmp_path, head=head, lora=lora, learning_rate=RATE, layer_decay=DECAY, weight_decay=0.01
    )
    optimizer = trainer.create_optimizer()
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    trained = [parameter for parameter in trainer.classifier.parameters() if parameter.requires_grad]
    assert len(trained) == sum(len(group["params"]) for group in optimizer.param_groups)
    assert {group["weight_decay"] for group in optimizer.param_groups} <= {0.0, 0.01}
    assert optimizer.param_groups[0]["lr"] == RATE  # the one that is logged
    encoder = encoder_of(trainer.classifier)
    of_encoder = dict(encoder.named_parameters())
    layers = trainer.classifier.config.num_hidden_layers
    after = ("pooler", "final_norm", "norm.weight")
    for parameter_name, parameter in of_encoder.items():
        if not parameter.requires_grad:
            continue
        number = next((int(part) for part in parameter_name.split(".") if part.isdecimal()), None)
        if number is not None:
            assert rates[id(parameter)] == pytest.approx(RATE * DECAY ** (layers - number))
        elif parameter_name.startswith(after):
            assert rates[id(parameter)] == RATE
        else:
            assert rates[id(parameter)] == pytest.approx(RATE * DECAY ** (layers + 1)), parameter_name
    others = [parameter for parameter in trained if id(parameter) not in {id(each) for each in of_encoder.values()}]
    assert others
    assert {rates[id(parameter)] for parameter in others} == {RATE}


def test_a_step_moves_the_first_layers_least(encoders: dict[str, Path], tmp_path: Path) -> None:
    moved = {}
    for decay in (1.0, 0.1):
        trainer = make(
            encoders["bert"],
            tmp_path / str(decay),
            learning_rate=RATE,
            layer_decay=decay,
            max_steps=1,
            warmup_steps=0,
            save_strategy="no",
        )
        before = [parameter.detach().clone() for parameter in trainer.classifier.parameters()]
        trainer.train()
        after = list(trainer.classifier.parameters())
        moved[decay] = [float((a.detach() - b).abs().max()) for a, b in zip(after, before, strict=True)]
    first, head = 0, -1
    assert moved[0.1][head] == pytest.approx(moved[1.0][head], rel=1e-3)
    assert 0.0 < moved[0.1][first] < 0.02 * moved[1.0][first]
    assert torch.tensor(moved[0.1]).isfinite().all()


@pytest.mark.parametrize("decay", [0.0, 1.5])
def test_a_decay_that_is_none_is_refused(decay: float, encoders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="layer_decay"):
        make(encoders["bert"], tmp_path, layer_decay=decay)
