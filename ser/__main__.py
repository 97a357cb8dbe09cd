"""`python -m ser`: the same as the command `ser`."""

import sys

from ser.cli import main

if __name__ == "__main__":
    sys.exit(main())
