"""Lock files: which bytes a deployment needs, written down outside of the cache.

`format` reads and writes the text, `files` the file; `making` makes one from the Hub or from the cache; `syncing` makes the
cache hold those bytes; `probe` says whether the files stand there, `checking` whether they have the bytes.
"""
