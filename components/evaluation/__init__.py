"""Figures and the report: bits per byte, intervals, win rates, plots."""
