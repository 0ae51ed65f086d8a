"""What can go wrong: kinds of faults, faults as values, and the board that knows which last now."""
