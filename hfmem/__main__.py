"""``python -m hfmem``."""

import sys

from hfmem.cli import main

if __name__ == "__main__":
    sys.exit(main())
