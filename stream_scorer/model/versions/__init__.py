"""The versions in a store, for people: list them, promote one, roll back."""
