"""The race: many processes on the same files, killed at random, and an oracle that judges each invariant by its name."""
