"""Bytes to frames: TCP, TLS, the upgrade, and the cutting of frames."""
