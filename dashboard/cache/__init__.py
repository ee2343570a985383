"""What the dashboard keeps of the flagged transactions: disposable, rebuilt from the topic."""
