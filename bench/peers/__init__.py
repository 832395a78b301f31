"""What this cache and its peers do with the same bytes, mishaps and hub: each cell of the README's table, tried."""
