"""Files of IEEE-CIS transactions: CSV, plain or packed, and Parquet."""
