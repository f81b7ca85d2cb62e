"""OpenDojo: camera clips of a fleet go in, a driving network comes out."""

__version__ = "0.1.0"
