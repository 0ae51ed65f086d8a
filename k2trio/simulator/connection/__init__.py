"""One WebSocket connection as the exchange sees it, from the upgrade to its end."""
