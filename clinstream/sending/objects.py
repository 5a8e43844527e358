"""Files as objects to store: DICOM files byte for byte, pictures wrapped; nothing is sent from here."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from pydicom.filereader import read_dataset, read_preamble

from clinstream.sending.sent import Sent
from clinstream.sending.wrap import Wrapping, is_picture, wrap
from producers import dicom_identity
from schemas import ids
from schemas.errors import RejectedInput, Unprocessable

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

MEDIA_SOP_CLASS, MEDIA_SOP_INSTANCE, TRANSFER_SYNTAX = 0x00020002, 0x00020003, 0x00020010


@dataclass(frozen=True, slots=True)
class StorageObject:
    """One object as it goes on the wire; `data` is its data set without group 0002."""

    path: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    event_id: str
    data: bytes = field(repr=False)

    @property
    def context(self) -> tuple[str, str]:
        """The presentation context that it needs: abstract syntax and transfer syntax."""
        return self.sop_class_uid, self.transfer_syntax_uid


def files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files named, and those below the folders named, in the order of their names."""
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                yield from (Path(folder, name) for name in sorted(names))
        else:
            yield path


def load(path: Path, wrapping: Wrapping, *, simulated: bool = False) -> StorageObject | Sent:
    """The object in a file, or the line that says why there is none. Never raises for what a file holds."""
    try:
        content = path.read_bytes()
        if is_picture(content):
            return _from_part_10(str(path), wrap(content, wrapping, simulated=simulated), simulated)
        return _from_part_10(str(path), content, simulated)
    except OSError as error:
        return Sent(str(path), "unreadable", f"the file cannot be read: {error.strerror}")
    except RejectedInput as error:
        return Sent(str(path), "unreadable", str(error))


def _from_part_10(path: str, content: bytes, simulated: bool) -> StorageObject:
    meta, data = _split(content)
    syntax = meta.get(TRANSFER_SYNTAX) or _guessed_syntax(data)
    try:
        header = dicom_identity.read_header(data, syntax)
        sop_class, instance = header.sop_class_uid, header.sop_instance_uid
        object_id = dicom_identity.object_of(header, simulated=simulated or header.simulated)
        event_id = str(ids.event_id(object_id, ids.sha256_hex(data)))
    except Unprocessable as error:
        # The door has to say what it thinks of a damaged object, as long as the request can be made at all.
        sop_class, instance, event_id = meta.get(MEDIA_SOP_CLASS, ""), meta.get(MEDIA_SOP_INSTANCE, ""), ""
        if not (sop_class and instance and data):
            prefixed = content[128:132] == b"DICM"
            raise Unprocessable(f"cannot be sent: {error}" if prefixed else "not a DICOM file") from error
    return StorageObject(path, sop_class, instance, syntax, event_id, data)


def _split(content: bytes) -> tuple[dict[int, str], bytes]:
    """Group 0002 as text by tag, and the data set after it (PS3.10 7.1); a file without the prefix has no group."""
    file = BytesIO(content)
    try:
        if read_preamble(file, True) is None:
            file.seek(0)
        group = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
        meta = {
            tag: value.rstrip(b"\0 ").decode("latin-1")
            for tag in (MEDIA_SOP_CLASS, MEDIA_SOP_INSTANCE, TRANSFER_SYNTAX)
            if tag in group and isinstance(value := group.get_item(tag).value, bytes)
        }
    except Exception as error:  # pydicom raises nearly anything on what is not DICOM
        raise Unprocessable(f"not a DICOM file ({type(error).__name__})") from error
    return meta, content[file.tell() :]


def _guessed_syntax(data: bytes) -> str:
    """The encoding of a data set that comes without group 0002: its first element tells."""
    if all(0x40 < letter < 0x5B for letter in data[4:6]):
        return EXPLICIT_BIG if data[:1] == b"\0" else EXPLICIT_LITTLE
    return IMPLICIT_LITTLE
