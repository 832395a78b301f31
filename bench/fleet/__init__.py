"""A fleet of thousands of hosts on virtual time and a virtual network, which runs the code that real hosts run.

`virtual` has synchronous code wait for virtual time, `network` shares links among transfers, `memory` is bytes that are not
there, `engines` are the Hub, the bucket and the database, `host` is one host and its processes, `site` puts all of it together
and counts. `figures` are the runs that the docs show, and `picture` draws them.
"""
