"""k2trio: the Binance market-data client that does not lose messages."""
