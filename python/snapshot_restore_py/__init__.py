"""AWS Lambda SnapStart's names for the hooks of warm images; found while an image is built."""

from pycds import register_after_restore, register_before_snapshot

__all__ = ["register_after_restore", "register_before_snapshot"]
