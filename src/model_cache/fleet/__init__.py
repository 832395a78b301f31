"""What hosts share, so that a fleet downloads each file once: a bucket between disk and Hub, and who leads a download.

`protocols` says what an engine has to do, and is the case without one. `bucket` alone knows the library for object stores, and
`postgres` alone the one for PostgreSQL; both are loaded by `engines` once a setting names them, never before. `objects` says
what things are called in a bucket, `breaker` decides when an engine that failed is asked again and `gate` remembers it for all
processes of a root, `uploads` does what nobody waits for, and `fleet` puts it together.
"""
