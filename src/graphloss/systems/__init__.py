"""Whole systems to compare with, on the same documents, scored by the same code."""
