"""The views of the console, a file for each page. Importing one mounts it."""

from . import overview, sign_in

__all__ = ["overview", "sign_in"]
