"""A miss: one process downloads, verifies and publishes; the others wait for it or take over.

`miss` narrates the whole job. `waiting` takes the write lock, `notes` is what its holder tells, `partial` holds the
bytes, `body` receives them (`parts` decides who fetches what, `reception` is what connections share, `crew` is their threads),
`publish` gives them their name, `recovery` settles what a dead predecessor left,
`recorder` writes it all into the index, `background` lets a caller leave while the download goes on.
"""
