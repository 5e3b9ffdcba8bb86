"""Draws, trains, checks and shows avatars."""
