"""The vector index: a protocol, and its two implementations."""
