"""The batch job: list photos, plan, encode, write vector parts and the ledger; the command line."""
