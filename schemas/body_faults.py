"""Error codes of an Avro body, and what they mean; 0 means no error."""

from __future__ import annotations

from typing import Final

TRUNCATED: Final = 1
TRAILING: Final = 2
BAD_BRANCH: Final = 3
BAD_VARINT: Final = 4
BAD_LENGTH: Final = 5
BAD_BOOLEAN: Final = 6
INCOMPATIBLE: Final = 7
MISSING: Final = 8
INFINITE: Final = 9
BAD_TIME: Final = 10
BAD_SYMBOL: Final = 11

MESSAGES: Final = {
    TRUNCATED: "the body ends inside {}",
    TRAILING: "bytes are left over after the last field",
    BAD_BRANCH: "{} has a union index its schema does not have",
    BAD_VARINT: "{} has an integer of more than 64 bits",
    BAD_LENGTH: "{} has a length beyond the body",
    BAD_BOOLEAN: "{} has a boolean that is neither 0 nor 1",
    INCOMPATIBLE: "{} has a type that cannot be read as ours",
    MISSING: "{} is missing",
    INFINITE: "{} is infinite",
    BAD_SYMBOL: "{} has an enum index its schema does not have",
}
