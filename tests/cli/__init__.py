"""Tests of the command `crm`: what teams type, and what they read when something goes wrong."""
