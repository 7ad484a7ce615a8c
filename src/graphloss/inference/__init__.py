"""Trained classifiers and encoders at work on new texts."""
