"""A page from a run, or from several: self-contained, offline, with nothing in it that executes but its own script."""

from graphloss.report.page import write_report

__all__ = ["write_report"]
