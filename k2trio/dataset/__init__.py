"""The dataset: what a feed brought, stored, proven, healed and read again. Needs the extra."""
