"""Reading and checking documents, splits, labels, tokens."""
