"""Where a feed's messages go. Each sink beyond JSON lines is an optional extra."""
