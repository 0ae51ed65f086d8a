"""What the exchange says: names of streams, types of payloads, and frames read as these."""
