"""What the benchmarks share: the market, the load server, the peers' environments, the reports."""
