"""Weeks of a fleet, simulated with the planner that is shipped."""
