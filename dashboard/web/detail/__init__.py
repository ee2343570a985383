"""The pages of one transaction and of one card, email domain, device or address."""
