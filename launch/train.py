"""Start a training run: `accelerate launch launch/train.py`, with the flags of `distvae train`."""

import sys

try:
    from distvae.cli import run_and_exit
except ModuleNotFoundError as error:
    if error.name != "distvae":
        raise
    sys.exit("distvae is not installed: run `pip install -e .` at the top of the checkout")

if __name__ == "__main__":
    run_and_exit(["train", *sys.argv[1:]])
