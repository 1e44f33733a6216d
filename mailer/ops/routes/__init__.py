"""The views of the console, a file for each page. Importing one mounts it."""

from . import bulk, failed, jobs, overview, results, sign_in

__all__ = ["bulk", "failed", "jobs", "overview", "results", "sign_in"]
