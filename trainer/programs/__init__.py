"""Feature programs for people: which one a run uses, what it computes, and how to write one."""
