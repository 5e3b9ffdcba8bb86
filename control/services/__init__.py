"""Use cases, one a function, over the ports in ports.py."""
