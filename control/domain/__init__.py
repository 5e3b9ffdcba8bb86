"""Pure decisions: standard library only, time passed in."""
