"""The kinds of instruction, and what their operands are.

The compiled loop has these numbers built in, and numba recompiles it only when its own file
changes: never change a number. A new kind gets the next one.
"""

from __future__ import annotations

from typing import Final

import numpy as np

COPY_RUN: Final = np.uint64(0)
"""Neighbouring number columns, unchanged. Operand: the first column. Extra: 1 counts missing."""
COPY_LIST: Final = np.uint64(1)
"""Number columns, unchanged. Operands: the columns. Extra: 1 counts missing."""
CODE: Final = np.uint64(2)
"""Codes of texts. Operands: columns, tables. Extra: 1 counts missing. Saves the tables' shares."""
SAVED_SHARE: Final = np.uint64(3)
"""Shares that CODE saved. Operands: tables."""
TEXT_SHARE: Final = np.uint64(4)
"""Share of one text. Operands: column, table."""
NUMBER_SHARE: Final = np.uint64(5)
"""Shares of numbers. Operands: columns, tables."""
PAIR_SHARE: Final = np.uint64(6)
"""Share of a pair of numbers. Operands: two columns, table."""
RATIO: Final = np.uint64(7)
"""A number divided by a table's value. Operands: column, the key's column, table."""
CENTS: Final = np.uint64(8)
"""Cents of an amount. Operand: column."""
CENT_FRACTION: Final = np.uint64(9)
"""Whether an amount has a fraction of a cent. Operand: column."""
HOUR: Final = np.uint64(10)
"""Hour of the day."""
WEEKDAY: Final = np.uint64(11)
"""Day of the week."""
EQUAL: Final = np.uint64(12)
"""Whether two texts are equal. Operands: two columns."""
MISSING_COUNT: Final = np.uint64(13)
"""Number of missing columns. Operands: number columns, text columns. Extra: twice the number of
number columns, plus 1 to add what copies and codes counted."""
DIFFERENCE: Final = np.uint64(14)
"""One number minus another. Operands: two columns."""
MINUS_DAY: Final = np.uint64(15)
"""Numbers minus the day. Operands: columns."""
MISSING_PATTERN: Final = np.uint64(16)
"""Code of which columns are missing. Operands: number columns, text columns, table. Extra: the
number of number columns."""
TEXT_PART: Final = np.uint64(17)
"""Codes of parts of texts. Operands: columns, tables, two words with one bit for each separator.
Extra: 0 for the part before the first separator, 1 for the part after the last."""
