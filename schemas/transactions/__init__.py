"""Card transactions: decoding whatever format a record is in, and encoding them."""
