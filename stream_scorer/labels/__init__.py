"""Labels of transactions: what people and chargebacks decided, read from their topic."""
