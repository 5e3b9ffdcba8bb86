"""What both sides of the wire speak. Imports pydantic only; copied alone into the worker image."""
