"""Inputs and histories for the tests of card histories."""
