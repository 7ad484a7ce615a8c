"""Trained classifiers and their document graph at work on new texts."""
