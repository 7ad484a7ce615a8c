"""Losses over the graph, as modules."""
