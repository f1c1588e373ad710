"""Bytes in: listing, downloading, decompressing, containers. Knows no stage."""
