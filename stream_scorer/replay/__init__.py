"""A range of the input is scored again with another model; nothing is committed or published."""
