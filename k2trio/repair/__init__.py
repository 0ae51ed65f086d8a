"""Asking the venue over REST: for what is missing, and whether silence is real."""
