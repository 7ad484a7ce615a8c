"""The mathematics of the document graph: functions of tensors, with no state and no input or output."""

from graphloss.graph.affinity import log_affinities, squared_distances, transition_rows, unit_rows
from graphloss.graph.bandwidth import bandwidth_dicm, bandwidth_loo, bandwidth_sqrt, local_widths
from graphloss.graph.masking import split_batch
from graphloss.graph.objectives import propagation_loss
from graphloss.graph.propagation import propagate

__all__ = [
    "bandwidth_dicm",
    "bandwidth_loo",
    "bandwidth_sqrt",
    "local_widths",
    "log_affinities",
    "propagate",
    "propagation_loss",
    "split_batch",
    "squared_distances",
    "transition_rows",
    "unit_rows",
]
