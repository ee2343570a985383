"""What the error codes of the compiled loop mean, for people."""

from __future__ import annotations

from typing import Final

from schemas.avro import kernel

MESSAGES: Final = {
    kernel.TRUNCATED: "the body ends inside {}",
    kernel.TRAILING: "bytes are left over after the last field",
    kernel.BAD_BRANCH: "{} has a union index its schema does not have",
    kernel.BAD_VARINT: "{} has an integer of more than 64 bits",
    kernel.BAD_LENGTH: "{} has a length beyond the body",
    kernel.BAD_BOOLEAN: "{} has a boolean that is neither 0 nor 1",
    kernel.INCOMPATIBLE: "{} has a type that cannot be read as ours",
    kernel.MISSING: "{} is missing",
    kernel.INFINITE: "{} is infinite",
}
