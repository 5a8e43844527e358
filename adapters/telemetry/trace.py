"""W3C Trace Context: the `traceparent` header that follows an event through the hops; no tracing library here."""

import random
import re

_FORM = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_random = random.Random()
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


def new_traceparent() -> str:
    """A new trace with its first span, sampled (W3C Trace Context level 1, section 3.2)."""
    return f"00-{_hexadecimal(128)}-{_hexadecimal(64)}-01"


def child_traceparent(parent: str) -> str:
    """A new span of the trace of `parent`; a new trace where that is absent or malformed (section 3.2.2.3)."""
    match = _FORM.fullmatch(parent)
    if match is None or parent.startswith("ff") or match[1] == _NO_TRACE or match[2] == _NO_SPAN:
        return new_traceparent()
    return f"00-{match[1]}-{_hexadecimal(64)}-{match[3]}"


def _hexadecimal(bits: int) -> str:
    """Random digits, never all zero. Not the system's source: that is a call into the kernel for each event."""
    return f"{_random.getrandbits(bits) or 1:0{bits // 4}x}"
