"""What mail systems report of emails that they took: read and normalised, a file for each source.

Pure functions, but for `sns`, which fetches certificates: bytes in, `Told` out. Whatever comes in
was written by others.
"""
