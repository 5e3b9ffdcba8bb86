"""The ports, implemented on real parts."""
