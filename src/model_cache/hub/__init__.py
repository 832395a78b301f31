"""The Hub's protocol as a client: pure rules in `protocol` and `failures`, effects in `transport`, `body`, `client`."""
