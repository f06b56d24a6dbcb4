"""Where the packages lie: distvae/ with all in it, and the top folder export/ as distvae.export."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["distvae", "distvae.*"], exclude=["distvae.export"]),
        "distvae.export",
    ],
    package_dir={"distvae.export": "export"},
)
