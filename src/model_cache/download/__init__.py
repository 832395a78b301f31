"""A miss: one process downloads, verifies and publishes; the others wait for it or take over.

`miss` narrates what every caller does, `leading` what the one does who downloads. `waiting` takes the write lock, `notes`
is what its holder tells, `partial` holds the bytes, `body` receives them, `publish` gives them their name, `recovery`
settles what a dead predecessor left, `recorder` writes it all into the index, `background` lets a caller leave while the
download goes on.
"""
