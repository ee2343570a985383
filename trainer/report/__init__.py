"""The evaluation report of a version: one HTML page that needs nothing else."""

from trainer.report.page import build_page, write_report

__all__ = ["build_page", "write_report"]
