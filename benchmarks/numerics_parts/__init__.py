"""Sections of the benchmark of number formats."""
