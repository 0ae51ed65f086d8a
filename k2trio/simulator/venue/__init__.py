"""One venue, as its connections share it: who listens, what is enforced, what really happened."""
