"""A Hub that lies: every case in a process of its own, measured; and where a token could show, however it got there."""
