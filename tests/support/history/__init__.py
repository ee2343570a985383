"""What tests of card histories share."""
