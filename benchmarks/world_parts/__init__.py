"""The sections of the benchmark of the drawn world."""
