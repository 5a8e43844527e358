"""Fixtures of the integration tests alone; the servers that all tests share are one folder up."""

from tests.support.installation import installation, session_installation

__all__ = ["installation", "session_installation"]
