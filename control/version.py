"""The version that ships."""

__version__ = "0.1.0"
