"""A step of the walk over the documents: rows of P, formed in tiles, and as many of them kept as memory is meant for.

What is not kept is formed again where it is needed.
"""

from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from graphloss.graph.affinity import squared_lengths

KEPT = 2**25  # entries of P that may be kept: 128 MiB in float32
TILE = 2**21  # entries of P formed at once, but no fewer than MIN_ROWS rows
MIN_ROWS = 256  # products of fewer rows are slower a row


class Kept(NamedTuple):
    """What of P is kept between the passes: its rows; P_uu, a part of them; logarithms of what rows were divided by."""

    rows: Tensor | None = None
    among: Tensor | None = None
    log_sums: Tensor | None = None


NOTHING = Kept()


class Walk:
    """The rows of P that belong to the nodes to infer, u of them over K columns, formed in tiles.

    Args:
        centred: (K, d), all nodes, those to infer first, less a common centre.
        inferred: u.
        width: sigma, or (K,) one for each node.
        kept: of an earlier walk over the same nodes.
    """

    def __init__(self, centred: Tensor, inferred: int, width: float | Tensor, kept: Kept = NOTHING) -> None:
        self.centred, self.inferred, self.kept = centred, inferred, kept
        self.inverse_widths = width.reciprocal() if isinstance(width, Tensor) else None
        self.scale = 1.0 if isinstance(width, Tensor) else width**-2
        columns = centred.shape[0]
        height = inferred if inferred * columns <= TILE else max(TILE // columns, MIN_ROWS)
        self.tiles = [slice(start, min(start + height, inferred)) for start in range(0, inferred, height)]

    @cached_property
    def lengths(self) -> Float[Tensor, " K"]:
        """Squared lengths of all nodes."""
        return squared_lengths(self.centred)

    def first_pass(
        self, targets: Float[Tensor, "l C"], squared: Float[Tensor, "K K"] | None, iterative: bool
    ) -> Float[Tensor, "u C"]:
        """P_ul @ targets, keeping what fits of P itself.

        Args:
            targets: (l, C), l = K - u.
            squared: (K, K), the squared distances, where they are known; overwritten.
            iterative: whether P_uu can be done without.
        """
        nodes, columns = self.inferred, self.centred.shape[0]
        kept = targets.new_empty(nodes, columns) if nodes * columns <= KEPT else None
        among = None if kept is None else kept[:, :nodes]
        if among is None and (not iterative or nodes * nodes <= KEPT):
            among = targets.new_empty(nodes, nodes)
        reach, log_sums = [], []
        for tile in self.tiles:
            logits = self._logits(tile, slice(0, columns)) if squared is None else squared[tile].mul_(-0.5 * self.scale)
            logits.diagonal(tile.start).fill_(-torch.inf)
            rows = torch.softmax(logits, dim=1, out=None if kept is None else kept[tile])
            reach.append(rows[:, nodes:] @ targets)
            if iterative or kept is None:
                peak, column = logits.max(dim=1, keepdim=True)
                log_sums.append(peak - rows.gather(1, column).log_())
            if among is not None and kept is None:
                among[tile] = rows[:, :nodes]
        self.kept = Kept(kept, among, torch.cat(log_sums) if log_sums else None)
        return torch.cat(reach)

    def rows(self, tile: slice) -> Float[Tensor, "n k"]:
        """P over a tile, from its diagonal on."""
        if self.kept.rows is not None:
            return self.kept.rows[tile, tile.start :]
        logits = self._logits(tile, slice(tile.start, self.centred.shape[0]))
        logits.diagonal().fill_(-torch.inf)
        return self._exp(logits, tile)

    def columns(self, tile: slice) -> Float[Tensor, "n m"]:
        """The transpose of P_uu over a tile, from beyond its last row on."""
        rest = slice(tile.stop, self.inferred)
        if self.kept.among is not None:
            return self.kept.among[rest, tile].mT
        return self._exp(self._logits(rest, tile), rest).mT

    def step(self, values: Float[Tensor, "u C"]) -> Float[Tensor, "u C"]:
        """P_uu @ values."""
        if self.kept.among is not None:
            return self.kept.among @ values
        return torch.cat([self._all_among(tile) @ values for tile in self.tiles])

    def step_back(self, values: Float[Tensor, "u C"]) -> Float[Tensor, "u C"]:
        """P_uu^T @ values."""
        if self.kept.among is not None:
            return self.kept.among.mT @ values
        received = torch.zeros_like(values)
        for tile in self.tiles:
            received.addmm_(self._all_among(tile).mT, values[tile])
        return received

    def log_degrees(self) -> Float[Tensor, " u"]:
        """Logarithms of the degrees of the nodes to infer; times them, P is symmetric."""
        assert self.kept.log_sums is not None
        sums = self.kept.log_sums.squeeze(1)
        return sums if self.inverse_widths is not None else sums - 0.5 * self.scale * self.lengths[: self.inferred]

    def _all_among(self, tile: slice) -> Tensor:
        logits = self._logits(tile, slice(0, self.inferred))
        logits.diagonal(tile.start).fill_(-torch.inf)
        return self._exp(logits, tile)

    def _exp(self, logits: Tensor, tile: slice) -> Tensor:
        assert self.kept.log_sums is not None
        return logits.sub_(self.kept.log_sums[tile]).exp_()

    def _logits(self, rows: slice, columns: slice) -> Tensor:
        lengths, keys = self.lengths[columns], self.centred[columns]
        logits = torch.addmm(lengths, self.centred[rows], keys.mT, beta=-0.5 * self.scale, alpha=self.scale)
        if self.inverse_widths is not None:
            logits.sub_(0.5 * self.lengths[rows, None]).mul_(self.inverse_widths[rows, None])
            logits.mul_(self.inverse_widths[columns])
        return logits  # a row's own length, the same for all of its logits, is left to the softmax if widths are equal
