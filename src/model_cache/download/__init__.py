"""A miss: one process downloads, verifies and publishes; the others wait for it or take over.

`miss` narrates what every caller does, `leading` what the one does who downloads. `waiting` takes the write lock, `notes`
is what its holder tells, `partial` holds the bytes, `body` receives them (`parts` decides who fetches what, `reception` is what
connections share, `connections` are their threads), `publish` gives them their name, `recovery` settles what a dead predecessor
left, `recorder` writes it all into the index, `background` lets a caller leave while the download goes on.

`repo` narrates a whole repo, and `many` several files: `flight` receives and publishes those whose locks were got.
"""
