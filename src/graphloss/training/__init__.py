"""Settings, the trainer, and a run from files to its directory."""
