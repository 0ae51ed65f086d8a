"""What processes of one address share: the ledger of their budgets, on this machine."""
