"""`python -m producers door-dicom|door-http|door-folder --index N`: starts one process of a door."""

import argparse
import sys
import warnings

import uvloop

from adapters import settings, telemetry
from producers import process
from schemas.errors import Conflict, UserError

NAMES = ("door-dicom", "door-http", "door-folder")


def main() -> int:
    """Runs the named door; 0 after a signal, 2 when a setting is wrong or a port is taken."""
    parser = argparse.ArgumentParser(prog="python -m producers", description="A door of clinstream.")
    parser.add_argument("process", choices=NAMES)
    parser.add_argument("--index", type=int, default=0, help="which of the processes of this name, from 0")
    chosen = parser.parse_args()
    telemetry.configure_logging(chosen.process, chosen.index)
    # pydicom warns of odd values by quoting them; what a door makes of them is in its answer.
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
    try:
        uvloop.run(process.run(chosen.process, settings.load(), chosen.index))
    except (UserError, Conflict) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
