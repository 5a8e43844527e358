"""multipart/related as it arrives: whole, in crumbs, cut off, too large (S1)."""

from collections.abc import AsyncIterator

import pytest

from producers.related_parts import Broken, Part, PartTooLarge, parameters, parts

BODY = (
    b"preamble\r\n--b\r\nContent-Type: application/dicom; x=1\r\n\r\nfirst\r\n--bad\r\n\r\n--b\r\n"
    b"content-type:application/dicom\r\nContent-Length: 0\r\n\r\n\r\n--b\r\n\r\nthird--b\r\n--b--\r\nepilogue"
)


async def arriving(body: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]
        yield b""


async def read(body: bytes, size: int = 7, limit: int = 1000) -> list[Part]:
    return [part async for part in parts(arriving(body, size), "b", limit)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
async def test_parts_are_the_same_however_the_body_is_chopped(size: int) -> None:
    with pytest.raises(Broken, match="other text"):
        await read(BODY, size)
    whole = BODY.replace(b"--bad", b"-_bad")
    assert [(part.media_type, part.content) for part in await read(whole, size)] == [
        ("application/dicom", b"first\r\n-_bad\r\n"),
        ("application/dicom", b""),
        ("", b"third--b"),
    ]


async def test_a_body_that_is_cut_off_gives_its_whole_parts_and_then_breaks() -> None:
    body = b"--b\r\n\r\none\r\n--b\r\n\r\ntwo"
    reader = parts(arriving(body, 5), "b", 100)
    assert (await anext(reader)).content == b"one"
    with pytest.raises(Broken):
        await anext(reader)


async def test_a_part_beyond_the_limit_is_given_up_before_it_is_all_here() -> None:
    pulled = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal pulled
        yield b"--b\r\n\r\n"
        while True:
            pulled += 1000
            yield b"x" * 1000

    with pytest.raises(PartTooLarge):
        await anext(parts(endless(), "b", 10_000))
    assert pulled <= 12_000


def test_parameters_may_be_quoted_and_named_in_any_case() -> None:
    kind, found = parameters('Multipart/Related; TYPE="application/dicom"; boundary="a b"')
    assert kind == "multipart/related"
    assert found == {"type": "application/dicom", "boundary": "a b"}
    assert parameters("")[0] == ""
