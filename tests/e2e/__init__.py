"""Whole cells, from outside."""
