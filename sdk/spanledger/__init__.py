"""Thin SDK."""
