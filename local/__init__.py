"""The whole path on one machine: stand-ins for AWS, a real OpenSearch, the demo."""
