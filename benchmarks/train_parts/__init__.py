"""Sections of the trainer's benchmark."""
