"""Raw dumps in, training shards out."""

__version__ = "0.1.0"
