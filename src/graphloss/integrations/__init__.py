"""GraphLoss in the clothes of other libraries."""
