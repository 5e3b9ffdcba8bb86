"""Trials of the control plane without machines: a model of the store, and faults under a seed."""
