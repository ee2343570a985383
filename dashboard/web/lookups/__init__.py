"""Routes that say more about flagged transactions: related ones, input records, and totals."""
