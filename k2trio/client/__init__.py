"""The nursery: sessions, lines, the feed, and what waits for its consumer."""
