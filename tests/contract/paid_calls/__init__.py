"""Paid calls that are killed: a provider that outlives its callers, and callers in processes of their own."""
