"""Reliability under load: people search and photos come, while OpenSearch and S3 fail (`make soak`)."""
