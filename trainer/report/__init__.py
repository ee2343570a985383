"""The evaluation report of a version: one self-contained HTML page."""

from trainer.report.page import build_page, write_report

__all__ = ["build_page", "write_report"]
