"""What happened, as values, and who listens: metrics, logs, history, report."""
