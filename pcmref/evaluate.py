"""Stub."""
retention = None
