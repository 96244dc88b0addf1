"""Tests of the helpers for commands."""
