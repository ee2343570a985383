"""The interpreter of feature programs: instructions, hash tables and the compiled loops."""
