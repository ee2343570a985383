"""The check page: scores a transaction that a person enters, and explains the score."""
