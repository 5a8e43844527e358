"""What other families of networks would cost to serve at this model's size; imports torch, trains nothing.

`python -m triton_models.fracture.experiments` prints the table of MODEL.md: parameters, file as served, time of one
image on one thread, and memory that serving takes. How well families learn is measured by
`triton_models.chest_xray.experiments`.
"""

import tempfile
from pathlib import Path

from triton_models._vision import served as files
from triton_models._vision.cost import asked
from triton_models._vision.families import families
from triton_models._vision.served import Served
from triton_models.fracture.card import CARD
from triton_models.fracture.framing import COLUMNS, ROWS

SQUARE, PATCH = 320, 16
"""The side of a square with about as many pixels as the canvas: a transformer of torchvision takes no other shape."""


def main() -> None:
    """Prints one line a family."""
    own = Path(__file__).with_name(CARD.weights)
    print(line("this model", None, own), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, family in families(SQUARE, PATCH).items():
            path, network = Path(folder) / "model.onnx", family.build()
            shape = (1, SQUARE, SQUARE) if family.square else (1, ROWS, COLUMNS)
            files.export(Served(network, 1.0, 0.0), shape, {"probability": (2,)}, path)
            print(line(name, sum(each.numel() for each in network.parameters()), path), flush=True)


def line(name: str, parameters: int | None, path: Path) -> str:
    """A row of the table; the file's size says how many parameters a file without network holds."""
    milliseconds, megabytes = asked(path)
    size = path.stat().st_size
    many = (size / 2 if parameters is None else parameters) / 1e6
    return f"| {name} | {many:.1f} | {size / 1e6:.1f} | {milliseconds:.1f} | {megabytes:.0f} |"


if __name__ == "__main__":
    main()
