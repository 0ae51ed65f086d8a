"""Deterministic simulation: the whole client against the simulated exchange, in virtual time."""
