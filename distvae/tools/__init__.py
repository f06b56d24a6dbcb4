"""What is done with a trained model: each tool is a command and the same function in Python.

A tool is a file here, and a row of ``TOOLS`` in :mod:`distvae.commands`. The file holds a frozen
dataclass of flags, a function of arrays that returns a small result, and the function of the
command, which takes the flags and writes a picture, a file and the line with the number.
"""
