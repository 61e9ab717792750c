"""The transparency log: signed statements in a Merkle tree of static files that anyone can verify offline."""
