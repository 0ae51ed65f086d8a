"""The feed in a program that does not run on Trio: what :mod:`k2trio.aio` and ``sync`` share."""
