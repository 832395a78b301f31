"""Measures this cache beside what people would otherwise use, in pairs, on one machine, in one run."""
