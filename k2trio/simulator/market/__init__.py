"""A coherent, seeded market, and the streams that tell of it. Pure: no clock, no network."""
