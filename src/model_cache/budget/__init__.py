"""The budget: who may come in, and who has to go.

`limits` says how much there is, `lru` decides in which order entries go (pure), `eviction` takes them away, `admission`
makes room for a download, `refusals` says why there is none, `collection` is `gc`.
"""
