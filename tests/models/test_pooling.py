import pytest
import torch

from graphloss.errors import InputError
from graphloss.models.pooling import pool

STATES = torch.arange(24.0).reshape(2, 4, 3)
RIGHT = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
LEFT = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])


@pytest.mark.parametrize(
    ("pooling", "mask", "rows"),
    [
        ("first", RIGHT, (0, 0)),
        ("first", LEFT, (1, 0)),
        ("last", RIGHT, (2, 3)),
        ("last", LEFT, (3, 3)),
        ("last", None, (3, 3)),
    ],
)
def test_one_token_with_padding_on_either_side(pooling: str, mask: torch.Tensor | None, rows: tuple[int, int]) -> None:
    expected = torch.stack([STATES[0, rows[0]], STATES[1, rows[1]]])
    assert torch.equal(pool(STATES, mask, pooling), expected)


def test_mean_leaves_padding_out() -> None:
    expected = torch.stack([STATES[0, :3].mean(0), STATES[1].mean(0)])
    torch.testing.assert_close(pool(STATES, RIGHT, "mean"), expected)
    with pytest.raises(InputError, match="pooling must be one of first, mean, last"):
        pool(STATES, RIGHT, "max")
