"""Where the exchange can be reached: real sockets, or a network in memory."""
