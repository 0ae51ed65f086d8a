"""A market that was recorded: it happens again."""
