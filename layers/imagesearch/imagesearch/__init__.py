"""Image search with CLIP embeddings: the library that the functions, the batch job and the local stack share."""
