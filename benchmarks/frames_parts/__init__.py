"""The sections of benchmarks/frames.py."""
