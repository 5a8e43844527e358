"""Names of what an ONNX file gives, read from its bytes, so that what serves needs no ONNX library."""

from collections.abc import Iterator

# Field numbers of onnx.proto: ModelProto.graph, GraphProto.output, ValueInfoProto.name.
GRAPH, OUTPUT, NAME = 7, 12, 1


def output_names(data: bytes) -> frozenset[str]:
    """The names of the graph's outputs; raises ValueError for bytes that are no ONNX file."""
    view = memoryview(data)
    return frozenset(
        str(bytes(name), "utf-8")
        for graph in _fields(view, GRAPH)
        for output in _fields(graph, OUTPUT)
        for name in _fields(output, NAME)
    )


def _fields(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """The contents of a message's fields of that number, of those that hold bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        match key & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                size, at = _varint(message, at)
                if key >> 3 == wanted:
                    yield message[at : at + size]
                at += size
            case 5:
                at += 4
            case _:
                raise ValueError("not an ONNX file")
    if at != len(message):
        raise ValueError("not an ONNX file, or cut short")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of variable length and where it ends."""
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
    raise ValueError("not an ONNX file, or cut short")
