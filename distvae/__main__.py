"""``python -m distvae`` is the command ``distvae``."""

from distvae.cli import run_and_exit

if __name__ == "__main__":
    run_and_exit()
