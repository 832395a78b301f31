"""A model of the protocol, small enough to be explored whole: every interleaving, crash and power loss of a few processes."""
