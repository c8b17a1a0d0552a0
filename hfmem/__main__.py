"""``python -m hfmem``."""

from hfmem.cli import run

if __name__ == "__main__":
    run()
