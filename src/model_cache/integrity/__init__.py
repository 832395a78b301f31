"""Is what stands on disk what was recorded? Verify, repair, reconcile.

`reading` reads one file and says what it saw; `verdict` decides, without I/O, what that means; `verify` narrates a run
over many files; `repairing` mends what a run found; `reconcile` brings index and disk into agreement.
"""
