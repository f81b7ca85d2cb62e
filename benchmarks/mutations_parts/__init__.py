"""Recordings of every kind, and ways to damage them."""
