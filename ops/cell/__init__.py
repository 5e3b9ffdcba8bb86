"""The local cell: template.yaml interpreted on one machine, with the real parts."""
