"""The contracts, and the codecs between bytes and columns."""
