"""Exported files: their columns, and how rows become CSV, JSON lines and Parquet, a part at a time."""
