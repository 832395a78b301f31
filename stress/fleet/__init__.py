"""A fleet on real engines: hosts in network namespaces, an S3 server, PostgreSQL, and what each promise came to."""
