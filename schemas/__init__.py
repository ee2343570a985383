"""The contracts, and transactions between bytes and columns."""
