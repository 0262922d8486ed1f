"""The scorecard: what a user compares, measured side by side, in one run (`make bench`)."""
