"""Encoders, poolings and classification heads, loaded and saved."""
