"""The views of the console, a file for each page. Importing one mounts it."""

from . import failed, jobs, overview, sign_in, transports

__all__ = ["failed", "jobs", "overview", "sign_in", "transports"]
