"""The object store of one machine: a folder; pixels are written and read elsewhere."""

from clinstream.embedded.home import Home


def make(home: Home) -> str:
    """Creates the store's folder, readable by its owner only, and returns its file:// URL."""
    folder = home.folder / "store"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder.as_uri()
