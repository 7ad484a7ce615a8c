"""Products of a constant sparse matrix with dense ones, and their gradient."""

import warnings
from typing import Any

import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix
from torch import Tensor


class SparseProduct:
    """A constant sparse matrix, to be multiplied with dense ones that have a gradient."""

    def __init__(self, matrix: csr_matrix) -> None:
        self.matrix, self.transposed = _tensor(matrix), _tensor(csr_matrix(matrix.T))

    def __call__(self, dense: Float[Tensor, "m d"]) -> Float[Tensor, "n d"]:
        """The product of the (n, m) matrix and an (m, d) one."""
        return _Product.apply(self.matrix, self.transposed, dense)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, dense: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ dense

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed @ gradients[0]


def _tensor(matrix: csr_matrix) -> Tensor:
    starts, columns, values = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(starts, columns, values, size=matrix.shape, check_invariants=True)
