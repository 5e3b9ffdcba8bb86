"""The fleet that grows and shrinks, for people: its pools, and what is done to them at a desk."""
